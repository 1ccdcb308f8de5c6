"""Plan files on the command line, and what fills the places that they leave open."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phase4.errors import PlanInvalid
from phase4.rollout.guardrail_table import Limits

if TYPE_CHECKING:
    from phase4.config.plan_defaults import PlanDefaults

DEFAULT = "default plan"


def document(file: str | None) -> tuple[dict[str, Any], str]:
    """Return the document of a plan file and its name for messages; None = the guide's plan.

    Raises:
        PlanInvalid: the file cannot be read or is not TOML.
    """
    if file is None:
        text = resources.files("phase4.rollout").joinpath("default_plan.toml").read_text(encoding="utf-8")
        # the guide's stages; its limits come from the settings, which are the guide's by default
        return {"schema": 1, "stages": tomllib.loads(text)["stages"]}, DEFAULT
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8")), Path(file).name
    except (OSError, UnicodeDecodeError) as error:
        raise PlanInvalid(f"cannot be read: {getattr(error, 'strerror', None) or error}", source=file) from error
    except tomllib.TOMLDecodeError as error:
        raise PlanInvalid(f"is not valid TOML: {error}", source=file) from error


def limits_of(defaults: PlanDefaults, measured: frozenset[str]) -> Limits:
    """Return what a plan takes where its file says nothing: the settings of this moment, and what is reported."""
    return Limits(
        error=defaults.error_limit,
        success=defaults.success_limit,
        emergency=defaults.emergency_limit,
        validation=defaults.validation_limit,
        latency_margin=defaults.latency_margin,
        measures=measured,
        auto=defaults.auto,
        approvals_required=defaults.approvals_required,
    )
