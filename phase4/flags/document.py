"""The flag document `phase4.flag/1`: everything that is wrong with one, each problem with its path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from phase4.flags import operands, schema, values
from phase4.flags.fields import LONE_SURROGATE, Fields, unknown
from phase4.flags.schema import FlagType, Kind, Operand, Operator

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VARIANT_RULE = "variant"
"""The one rule id that is taken: `#variant` ends the salt of a split."""

Variants = Mapping[str, Any] | None
"""The variants by name; None = they cannot be read, so that any name may be right."""


def problems_of(document: object) -> list[str]:
    """Return everything that is wrong with a document, one line each."""
    if not isinstance(document, Mapping):
        return [f"a flag document is a JSON object: {type(document).__name__}"]
    problems: list[str] = []
    top = Fields(document, "", problems)
    top.option("schema", (schema.SCHEMA,))
    top.name("key", schema.KEY)
    named_type = top.option("type", tuple(FlagType))
    top.boolean("enabled")
    variants = _check_variants(top, None if named_type is None else FlagType(named_type))
    _check_variant_name(top, "off_variant", variants)
    if not top.has("default_variant"):
        top.problem("default_variant", "is missing; it is a variant, or null for the caller's code default")
    elif top.given("default_variant"):
        _check_variant_name(top, "default_variant", variants)
    _check_optional(top)
    _check_targeting(top, variants)
    top.finish()
    return problems


def _check_optional(top: Fields) -> None:
    """Check the keys that a document may leave out and that do not decide who is served what."""
    checks: Mapping[str, Callable[[], object]] = {
        "salt": lambda: top.name("salt", schema.SALT),
        "algorithm": lambda: top.option("algorithm", schema.ALGORITHMS),
        "kind": lambda: top.option("kind", tuple(Kind)),
        "owner": lambda: top.name("owner"),
        "description": lambda: top.name("description"),
        "expires": lambda: _check_date(top, "expires"),
        "metadata": lambda: _check_metadata(top),
    }
    for key, check in checks.items():
        if top.given(key):
            check()


def _check_targeting(top: Fields, variants: Variants) -> None:
    """Check the keys that decide who is served what, in the order of evaluation."""
    _check_prerequisites(top)
    for key in ("deny", "allow"):
        for _ in top.texts(key, like="that are targeting keys"):
            pass
    if top.raw("allow") and not top.given("rollout"):
        top.problem("allow", "needs a rollout, as its units are served what the rollout serves")
    _check_conditions(top, "eligible")
    _check_rules(top, variants)
    if top.given("rollout"):
        rollout = top.object("rollout", like="with percentage and serve")
        if rollout is not None:
            _check_rollout(rollout, variants)


def _check_date(top: Fields, key: str) -> None:
    value = top.raw(key)
    try:
        is_date = isinstance(value, str) and _DATE.fullmatch(value) and date.fromisoformat(value)
    except ValueError:  # the 30th of February
        is_date = False
    if not is_date:
        top.problem(key, f'is a date, for example "2027-03-31": {value!r}')


def _check_metadata(top: Fields) -> None:
    """Note metadata other than booleans, strings and numbers: OFREP 0.3.0 carries no others."""
    table = top.object("metadata", like="of booleans, strings and numbers")
    if table is None:
        return
    for name in table.keys():  # noqa: SIM118 - a Table is no mapping
        value = table.raw(name)
        if not isinstance(value, bool | str | int | float):
            table.problem(name, f"is a boolean, a string or a number: {type(value).__name__}")
            continue
        for _, message in (*values.problems_of(name), *values.problems_of(value)):
            table.problem(name, message)


# ------------------------------------------------------------------------------------------- variants


def _check_variants(top: Fields, flag_type: FlagType | None) -> Variants:
    """Check the variants; return them, or None if they cannot be read."""
    variants = top.raw("variants")
    if not isinstance(variants, dict) or not variants:
        top.problem("variants", 'is an object with at least one variant, for example {"on": true, "off": false}')
        return None
    table = Fields(variants, "variants", top.problems)
    for name, value in variants.items():
        if not 1 <= len(name) <= 100 or _CONTROL_CHARACTER.search(name) or LONE_SURROGATE.search(name):
            top.problem("variants", f"a name has 1 to 100 characters, without control characters: {name!r}")
        elif flag_type is not None and not values.fits(value, flag_type):
            table.problem(name, f"is {values.WORDS[flag_type]}: {type(value).__name__}")
        else:
            for path, message in values.problems_of(value):
                table.problem(name + path, message)
    return variants


def _check_variant_name(table: Fields, key: str, variants: Variants) -> None:
    if variants is None:
        table.name(key)
    else:
        table.option(key, tuple(variants), what="variants")


def _check_serve(table: Fields, variants: Variants) -> None:
    """Check what is served: a variant, or a split of several."""
    if not isinstance(table.raw("serve"), dict):
        _check_variant_name(table, "serve", variants)
        return
    serve = Fields(table.raw("serve"), table.at("serve"), table.problems)
    split = serve.object("split", like="of integer weights by variant")
    serve.finish()
    if split is None:
        return
    total, is_whole = 0, True
    for name in split.keys():  # noqa: SIM118 - a Table is no mapping
        weight = split.raw(name)
        if variants is not None and name not in variants:
            split.problem(name, unknown(name, tuple(variants), what="variants"))
        if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
            split.problem(name, f"is a weight, a whole number from 0: {weight!r}")
            is_whole = False
        else:
            total += weight
    if is_whole and not 1 <= total <= schema.WEIGHT_MAX:
        serve.problem("split", f"has weights that sum to 1 .. 2^31 - 1: {total.bit_length()} bits")


# ------------------------------------------------------------------------------------------- targeting


def _check_rollout(table: Fields, variants: Variants) -> None:
    if not table.has("percentage"):
        table.problem("percentage", "is missing; it is a percentage, 0 to 100")
    else:
        _check_percentage(table)
    _check_bucketing(table, variants)
    table.finish()


def _check_percentage(table: Fields) -> None:
    value = table.raw("percentage")
    if not values.is_number(value) or not 0 <= value <= 100:
        table.problem("percentage", f"is a percentage, 0 to 100: {value!r}")


def _check_bucketing(table: Fields, variants: Variants) -> None:
    if table.given("bucket_by"):
        table.name("bucket_by")
    _check_serve(table, variants)


def _check_rules(top: Fields, variants: Variants) -> None:
    ids: set[str] = set()
    for rule in top.objects("rules", like="with id, when and serve"):
        rule_id = rule.name("id", schema.SALT)
        if rule_id == _VARIANT_RULE:
            rule.problem("id", "cannot be 'variant': the salt of a split ends so")
        elif rule_id in ids:
            rule.problem("id", f"is there twice: {rule_id!r}")
        ids.add(rule_id or "")
        _check_conditions(rule, "when")
        if rule.given("percentage"):
            _check_percentage(rule)
        _check_bucketing(rule, variants)
        rule.finish()


def _check_prerequisites(top: Fields) -> None:
    """Check what can be seen without the other flags; `phase4.flags.prerequisites` checks the rest."""
    keys: set[str] = set()
    for table in top.objects("prerequisites", like="with flag_key and variants"):
        key = table.name("flag_key", schema.FOREIGN_KEY)
        if key in keys:
            table.problem("flag_key", f"is there twice: {key!r}")
        keys.add(key or "")
        if not table.raw("variants"):
            table.problem("variants", "is a list of at least one variant of that flag")
        for _ in table.texts("variants", like="that are variants of that flag"):
            pass
        table.finish()


# ------------------------------------------------------------------------------------------- conditions


def _check_conditions(parent: Fields, key: str) -> None:
    for table in parent.objects(key, like="with attribute and op"):
        attribute = table.name("attribute")
        operator = table.option("op", tuple(Operator))
        for mark in ("negate", "ignore_case", "missing"):
            if table.given(mark):
                table.boolean(mark)
        if operator is not None:
            _check_operator(table, attribute, Operator(operator))
        else:
            table.has("value")
            table.has("values")
        table.finish()


def _check_operator(table: Fields, attribute: str | None, operator: Operator) -> None:
    """Check the operand, and what does not go with the operator."""
    operand = schema.OPERANDS[operator]
    if attribute == schema.NOW and operand is not Operand.MOMENT:
        table.problem("attribute", f"now goes with before and after: {operator.value}")
    if table.raw("ignore_case") is True and operand not in schema.CASED:
        table.problem("ignore_case", f"{operator.value} knows no case")
    if table.raw("missing") is True and operator is Operator.EXISTS:
        table.problem("missing", "exists asks just that: use negate")
    wanted = None if operand is Operand.NOTHING else "values" if operand in schema.LISTS else "value"
    for key in ("value", "values"):
        if key == wanted:
            _check_operand(table, key, operand)
        elif table.given(key):
            right = f'{operand.value}, in "{wanted}"' if wanted else operand.value
            table.problem(key, f"{operator.value} compares with {right}")


def _check_operand(table: Fields, key: str, operand: Operand) -> None:
    given = table.raw(key)
    if key == "value":
        items = {key: given}
    elif isinstance(given, list) and given:
        items = {f"{key}[{index}]": item for index, item in enumerate(given)}
    else:
        table.problem(key, f"is a list of at least one: {operand.value}")
        return
    for place, item in items.items():
        problem = _operand_problem(item, operand)
        if problem is not None:
            table.problem(place, problem)


_READERS: Mapping[Operand, Callable[[str], object]] = {
    Operand.PATTERN: operands.pattern,
    Operand.VERSION: operands.version,
    Operand.MOMENT: operands.moment_ms,
    Operand.NETWORKS: operands.network,
}


def _operand_problem(value: object, operand: Operand) -> str | None:
    """Return what is wrong with a value to compare with; None if nothing is."""
    is_right = {
        Operand.SCALARS: isinstance(value, str | bool | int | float),
        Operand.NUMBER: values.is_number(value),
    }.get(operand, isinstance(value, str))
    if not is_right:
        return f"is {'one of ' if operand in schema.LISTS else ''}{operand.value}: {type(value).__name__}"
    for _, message in values.problems_of(value):
        return message
    if operand is Operand.TEXTS and not value:
        return "must not be empty, as every text has that"
    if operand in _READERS and isinstance(value, str):
        try:
            _READERS[operand](value)
        except ValueError as error:
            return str(error)
    return None
