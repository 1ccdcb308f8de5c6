"""phase4: rehearse a feature rollout before it runs, run it under guardrails, review it from evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase4.system import aget_phase4_system, get_phase4_system

__version__ = "0.1.0"
__all__ = ["__version__", "aget_phase4_system", "get_phase4_system"]


def __getattr__(name: str) -> Any:
    """Load the system when it is asked for, and not with every command."""
    if name in {"aget_phase4_system", "get_phase4_system"}:
        from phase4 import system

        return getattr(system, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
