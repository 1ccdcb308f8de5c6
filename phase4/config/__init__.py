"""Settings: the only reader of the environment.

Importing this package loads the few lines that every command needs. The rest has modules of its own: `settings` (the
table), `profiles`, `resolution`, `rules`, `saved`, `plan_defaults`, `secret_files`.
"""

from __future__ import annotations

from phase4.config.process import home, home_text, is_verbose, load

__all__ = ["home", "home_text", "is_verbose", "load"]
