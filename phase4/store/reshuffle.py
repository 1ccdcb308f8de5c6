"""A flag's new salt: every user is placed anew. It is the only way to one, and one transaction."""

from __future__ import annotations

import json
from typing import Any

from phase4.errors import PlanLive, UsageError
from phase4.store.control import Change, ControlStore, Reply
from phase4.store.orders import shown


def reshuffle(
    store: ControlStore, flag_key: str, salt: str, *, actor: str, request_id: str, reason: str | None
) -> Reply:
    """Give a flag another salt. Its percentage stays, but other users are inside it, of its rules too.

    Args:
        store: The control store.
        flag_key: The flag.
        salt: The new one. It is no part of what a request id names: the same order again keeps the first.
        actor: Who orders it.
        request_id: Of the order.
        reason: Why; needed, because users lose the feature by it.

    Raises:
        UsageError: there is no reason.
        PlanLive: a plan is live, whose proof rests on users who stay where they are.
    """
    if reason is None or not reason.strip():
        raise UsageError("placing all users anew needs a reason", hint=f'flags reshuffle {flag_key} --reason "TEXT"')

    def work(change: Change) -> dict[str, Any]:
        flag = store.flag(flag_key)
        plan = store.live_plan(flag.id)
        if plan is not None:
            raise PlanLive(
                f"{plan.plan_id} is live: its users stay where they are", hint=f"rollout cancel {plan.plan_id}"
            )
        # as it was kept: the order of a split's variants decides who gets which
        document = json.dumps({**json.loads(flag.definition), "salt": salt}, ensure_ascii=False, separators=(",", ":"))
        after = change.set_flag(flag, "flag_reshuffled", reason, salt=salt, definition=document)
        # a leaf of its own: who was inside when can be computed from the log alone
        change.audit("salt_set", flag_key, before={"salt": flag.salt}, after={"salt": salt}, reason=reason)
        return {"flag": flag_key, "before": shown(flag), "after": shown(after), "changed": True, "salt": salt}

    arguments = {"flag": flag_key, "reason": reason}
    return store.execute("flags reshuffle", arguments, work, actor=actor, request_id=request_id)
