"""`phase4 flags reshuffle`: a new salt, one order, on record."""

import json

import pytest

from phase4.system import Phase4System
from tests.contract.driving import FLAGS, Lab

FLAG = FLAGS[0]
SHUFFLE = f'flags reshuffle {FLAG} --reason "the same users came first twice"'


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init", f"flags enable {FLAG}", f"flags rollout {FLAG} 50")
    return lab


def exposed(lab):
    system = Phase4System(str(lab.home))
    try:
        return {user for user in map(str, range(1_000)) if system.is_feature_enabled(FLAG, user)}
    finally:
        system.close()


def row(lab):
    store = lab.store()
    try:
        return store.flag(FLAG)
    finally:
        store.close()


def leaves(lab):
    store = lab.store()
    try:
        return [json.loads(leaf) for _, leaf, _ in store.audit()]
    finally:
        store.close()


def test_all_users_are_placed_anew_and_the_percentage_stays(lab):
    before = exposed(lab)
    lab.done(SHUFFLE)
    after = exposed(lab)
    # 1,000 users at 50 % under two independent salts: 250 in both, standard deviation 14 (binomial)
    assert 180 < len(before & after) < 320
    assert 430 < len(after) < 570
    assert row(lab).percentage == 50.0


def test_a_process_that_runs_on_sees_it_at_its_next_question(lab):
    system = Phase4System(str(lab.home))
    before = [system.is_feature_enabled(FLAG, str(user)) for user in range(200)]
    lab.done(SHUFFLE)
    assert [system.is_feature_enabled(FLAG, str(user)) for user in range(200)] != before
    system.close()


def test_the_salt_of_the_row_is_that_of_the_document(lab):
    salt = lab.done(f"{SHUFFLE} --json").data["salt"]
    flag = row(lab)
    assert flag.salt == json.loads(flag.definition)["salt"] == salt
    assert salt != FLAG


def test_nothing_else_of_the_document_changes(lab):
    before = json.loads(row(lab).definition)
    lab.done(SHUFFLE)
    after = json.loads(row(lab).definition)
    assert list(before) == list(after)
    assert {**before, "salt": None} == {**after, "salt": None}


def test_it_needs_a_reason(lab):
    for line in (f"flags reshuffle {FLAG}", f"flags reshuffle {FLAG} --reason ' '"):
        answer = lab(f"{line} --json")
        assert (answer.status, answer.error["code"]) == (2, "USAGE")
        assert answer.error["hint"] == f'phase4 flags reshuffle {FLAG} --reason "TEXT"'
    assert row(lab).salt == FLAG


def test_it_is_refused_while_a_plan_is_live(lab):
    lab.done(f"rollout create {FLAG}")
    answer = lab(f"{SHUFFLE} --json")
    assert (answer.status, answer.error["code"]) == (4, "PLAN_LIVE")
    assert answer.error["hint"] == f"phase4 rollout cancel {FLAG}.1"
    assert row(lab).salt == FLAG
    lab.done(f"rollout cancel {FLAG}.1", SHUFFLE)
    assert row(lab).salt != FLAG


def test_the_audit_log_has_both_salts_and_the_reason(lab):
    lab.done(SHUFFLE)
    done, salts = leaves(lab)[-2:]
    assert (done["action"], done["object"], done["reason"]) == (
        "flag_reshuffled",
        FLAG,
        "the same users came first twice",
    )
    assert (salts["action"], salts["before"], salts["after"]) == ("salt_set", {"salt": FLAG}, {"salt": row(lab).salt})
    assert lab.done("store check --json").data["findings"] == []


def test_the_same_order_again_keeps_the_first_salt(lab):
    first = lab.done(f"{SHUFFLE} --request-id a --json").data["salt"]
    assert lab.done(f"{SHUFFLE} --request-id a --json").data["salt"] == first == row(lab).salt
    assert "done before under this request id" in lab.done(f"{SHUFFLE} --request-id a").out


def test_a_dry_run_says_what_would_be(lab):
    assert lab.done(f"{SHUFFLE} --dry-run").out.splitlines() == [
        f"{FLAG}: all users would be placed anew; on, 50 % as before",
        "dry run: nothing was changed",
    ]
    assert row(lab).salt == FLAG


def test_an_unknown_flag_is_named_with_the_nearest(lab):
    answer = lab('flags reshuffle truth --reason "x" --json')
    assert (answer.status, answer.error["code"]) == (5, "FLAG_NOT_FOUND")
