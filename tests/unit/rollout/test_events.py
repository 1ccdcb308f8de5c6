import json
from typing import get_args

import pytest

from phase4.rollout.events import (
    SCHEMA,
    ApprovalDropped,
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    DataCorrected,
    EntryCause,
    Event,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
    StageEntered,
    from_json,
    to_json,
)

ALL = (
    StageEntered(at_ms=1, stage=0, entry=1, percentage=5.0, cause=EntryCause.START),
    StageEntered(at_ms=2, stage=1, entry=2, percentage=12.5, cause=EntryCause.PROMOTED),
    ApprovalRequested(at_ms=3, stage=2, expires_ms=9),
    ApprovalGiven(at_ms=4, approver="Ana Ünal"),
    ApprovalDropped(at_ms=5, reason="the request expired"),
    Paused(at_ms=6, reason=PauseReason.MAX_DURATION, note=""),
    Paused(at_ms=6, reason=PauseReason.OPERATOR, note='says "no"\nand leaves'),
    Resumed(at_ms=7, granted_ms=0),
    RolledBack(at_ms=8, guardrail="emergency", reason="emergency failed", is_emergency=True, tick=0),
    RolledBack(at_ms=8, guardrail=None, reason="by hand", is_emergency=False, tick=None),
    Completed(at_ms=9),
    Cancelled(at_ms=10, reason="replaced"),
    DataCorrected(
        at_ms=11,
        entry=2,
        from_ms=1,
        until_ms=2,
        treatment=9,
        treatment_errors=3,
        treatment_invalid=1,
        control=7,
        control_errors=0,
        control_invalid=0,
    ),
)
EACH = pytest.mark.parametrize("event", ALL, ids=[f"{event.kind}-{place}" for place, event in enumerate(ALL)])


def test_the_events_below_are_of_every_kind():
    assert {type(event) for event in ALL} == set(get_args(Event))


def test_no_two_kinds_share_a_name():
    assert len({cls.kind for cls in get_args(Event)}) == len(get_args(Event))


@EACH
def test_an_event_comes_back_from_json_as_it_was(event):
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


@EACH
def test_what_comes_back_has_the_same_types(event):
    back = from_json(json.loads(json.dumps(to_json(event))))
    fields = event.__dataclass_fields__
    assert [type(getattr(back, name)) for name in fields] == [type(getattr(event, name)) for name in fields]


@EACH
def test_json_carries_kind_and_schema_and_plain_values(event):
    document = to_json(event)
    assert (document["kind"], document["schema"]) == (event.kind, SCHEMA)
    assert {type(value) for value in document.values()} <= {str, int, float, bool, type(None)}


def test_reading_leaves_the_document_as_it_was():
    document = to_json(ALL[0])
    copy = dict(document)
    from_json(document)
    assert document == copy


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_another_schema_is_refused(schema):
    with pytest.raises(ValueError, match="schema 1"):
        from_json({**to_json(ALL[0]), "schema": schema})


def test_a_document_without_a_schema_is_refused():
    document = to_json(ALL[0])
    del document["schema"]
    with pytest.raises(ValueError, match="schema 1"):
        from_json(document)


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="stage_left"):
        from_json({**to_json(ALL[0]), "kind": "stage_left"})


def test_a_document_without_a_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind of journal event: None"):
        from_json({"schema": SCHEMA})


@pytest.mark.parametrize("event", [ALL[0], Completed(at_ms=9)], ids=lambda event: event.kind)
def test_a_document_without_the_fields_of_its_kind_is_refused(event):
    with pytest.raises(ValueError, match=f"a {event.kind} event has other fields"):
        from_json({"schema": SCHEMA, "kind": event.kind})


def test_a_field_that_the_kind_does_not_have_is_refused_by_name():
    with pytest.raises(ValueError, match=r"a completed event has other fields: .*percentage"):
        from_json({**to_json(Completed(at_ms=9)), "percentage": 5.0})


def test_an_unknown_cause_is_refused():
    with pytest.raises(ValueError, match="magic"):
        from_json({**to_json(ALL[0]), "cause": "magic"})
