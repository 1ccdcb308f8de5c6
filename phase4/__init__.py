"""phase4."""

__version__ = "0.1.0"
