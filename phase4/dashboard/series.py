"""The counts and judgements of one run by bucket: what its timeline draws and its table shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from phase4.dashboard import decimate
from phase4.dashboard.decimate import Floats
from phase4.dashboard.replay import Replay

CONTROL, TREATMENT = 1, 2
"""How table `observation` numbers the arms (phase4.flags.bucketing.Arm)."""
VERDICTS = ("PASS", "INCONCLUSIVE", "NO_DATA", "FAIL")
"""From harmless to harmful: a bucket shows the worst of its ticks, so that no FAIL can vanish."""
_LOG10 = math.log(10.0)


def bucketed_rates(replay: Replay, *, limit: int = decimate.MAX_POINTS) -> pl.DataFrame:
    """Return both arms by bucket, at most `limit` rows.

    Columns: `closed` (ticks since the start); for `treatment` and `control`: `<arm>_requests`, `<arm>_bad` and
    `<arm>_rate` (proportion, NULL without requests).
    """
    size = decimate.bucket_size(replay.ticks, limit=limit)
    columns: dict[str, Any] = {"closed": decimate.ends(replay.ticks, size)}
    for name, arm in (("treatment", TREATMENT), ("control", CONTROL)):
        rows = replay.observation.filter((pl.col("arm") == arm) & (pl.col("tick") < replay.ticks))
        ticks = rows["tick"].to_numpy()
        requests, bad = (
            decimate.by_tick(ticks, rows[column].to_numpy().astype(np.float64), length=replay.ticks)
            for column in ("requests", "bad")
        )
        columns[f"{name}_requests"] = decimate.sums(requests, size).astype(np.int64)
        columns[f"{name}_bad"] = decimate.sums(bad, size).astype(np.int64)
        columns[f"{name}_rate"] = decimate.rates(bad, requests, size)
    return pl.DataFrame(columns).with_columns(pl.col(pl.Float64).fill_nan(None))


def bucketed_evidence(replay: Replay, guardrail: str, *, limit: int = decimate.MAX_POINTS) -> pl.DataFrame:
    """Return a guardrail's evidence by bucket, at most `limit` rows.

    Columns: `closed` (ticks since the start), `log10_e` (largest of the bucket, NULL where evidence has not begun),
    `bound` (log10 of 1/alpha, NULL where nothing was judged), `verdict` (the worst of the bucket, NULL likewise).
    """
    size = decimate.bucket_size(replay.ticks, limit=limit)
    rows = replay.evidence.filter((pl.col("guardrail") == guardrail) & (pl.col("tick") < replay.ticks))
    ticks = rows["tick"].to_numpy()

    def pooled(column: str) -> Floats:
        values = rows[column].cast(pl.Float64).fill_null(math.nan).to_numpy() / _LOG10
        return decimate.maxima(decimate.by_tick(ticks, values, length=replay.ticks), size)

    ranks = np.full(replay.ticks, -1, dtype=np.int64)
    ranks[ticks] = [VERDICTS.index(verdict) for verdict in rows["verdict"].to_list()]
    names = [VERDICTS[rank] if rank >= 0 else None for rank in decimate.worst(ranks, size)]
    frame = {
        "closed": decimate.ends(replay.ticks, size),
        "log10_e": pooled("log_e_fail"),
        "bound": pooled("fail_bound"),
    }
    verdicts = pl.Series("verdict", names, dtype=pl.String)
    return pl.DataFrame(frame).with_columns(pl.col(pl.Float64).fill_nan(None)).with_columns(verdicts)


def stretches(frame: pl.DataFrame, size: int) -> list[tuple[str, int, int]]:
    """Return (verdict, first, last) for each stretch of equal verdicts, in ticks closed; `last` is one bucket on."""
    found: list[tuple[str, int, int]] = []
    for closed, verdict in frame.select("closed", "verdict").iter_rows():
        if verdict is None:
            continue
        if found and found[-1][0] == verdict and found[-1][2] == closed:
            found[-1] = (verdict, found[-1][1], closed + size)
        else:
            found.append((verdict, closed, closed + size))
    return found
