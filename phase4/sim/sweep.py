"""Many runs: every policy in every world, replicate by replicate, on as many processes as there are workers.

The list of runs is fixed before the first one starts. A replicate is one unit of work: its worlds are laid out once and
all its policies go through the same ones (common random numbers).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context

from phase4.errors import InvariantViolation, Phase4Error
from phase4.sim import identity
from phase4.sim import scenario as scenarios
from phase4.sim.counts import CountsSource
from phase4.sim.outcome import Outcome
from phase4.sim.replay import ReplaySource, ReplayWindow
from phase4.sim.scenario import Counts, Policy, Scenario, World
from phase4.sim.traffic import Source
from phase4.sim.users import UsersSource
from phase4.sim.world import Run, RunRecord

CHUNK = 4
"""Replicates sent to a worker at once."""
WAITING = 2
"""Chunks in flight for each worker: few, so that an interrupt ends soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """The runs that are done, and whether that is all of them."""

    outcomes: tuple[Outcome, ...]
    samples: tuple[RunRecord, ...]
    """One run for each world and policy, replicate 0, with everything it saw."""
    planned: int
    is_complete: bool


def run_one(scenario: Scenario, world: World, policy: Policy, *, seed: int, replicate: int) -> RunRecord:
    """Return one run with everything it saw.

    Raises:
        InvariantViolation: a promise of the product was broken; the hint is the command that shows it again.
        Phase4Error: the run died of something else; likewise.
    """
    source = source_of(scenario, world, seed=seed, replicate=replicate)
    return _run(scenario, world, policy, source, seed=seed, replicate=replicate, keep=True)


def sweep(
    scenario: Scenario,
    *,
    seed: int,
    replicates: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> SweepResult:
    """Run replicates 0..replicates-1 of every world and policy.

    Args:
        scenario: What to run.
        seed: Root seed; together with the scenario it decides every result.
        replicates: Runs for each world and policy, at least 1.
        workers: Processes; 1 = in this one. The result does not depend on it.
        progress: Called with (runs done, runs planned).

    A KeyboardInterrupt ends the sweep early: the result then holds what is done and `is_complete` is False.

    Raises:
        InvariantViolation: a promise of the product was broken; the hint is the command that shows it again.
        Phase4Error: a run, or a worker process, died.
    """
    cells = len(scenario.worlds) * len(scenario.policies)
    planned = replicates * cells
    chunks = [tuple(range(i, min(i + CHUNK, replicates))) for i in range(0, replicates, CHUNK)]
    done: list[RunRecord] = []
    is_complete = True
    try:
        for records in _results(scenario, seed, chunks, workers):
            done.extend(records)
            progress(len(done), planned)
    except KeyboardInterrupt:
        is_complete = False
    samples = [record for record in done if record.outcome.replicate == 0]
    order = {(w.name, p.name): (i, j) for i, w in enumerate(scenario.worlds) for j, p in enumerate(scenario.policies)}

    def place(record: RunRecord) -> tuple[tuple[int, int], int]:
        return order[record.outcome.world, record.outcome.policy], record.outcome.replicate

    return SweepResult(
        outcomes=tuple(record.outcome for record in sorted(done, key=place)),
        samples=tuple(sorted(samples, key=place)),
        planned=planned,
        is_complete=is_complete,
    )


def source_of(scenario: Scenario, world: World, *, seed: int, replicate: int) -> Source:
    """Return the traffic of one replicate of one world."""
    if isinstance(world.traffic, Counts):
        if world.traffic.population is not None:
            return UsersSource(scenario, world, seed=seed, replicate=replicate)
        return CountsSource(scenario, world, seed=seed, replicate=replicate)
    return ReplaySource(window_of(scenario, world), seed=seed, replicate=replicate)


@lru_cache(maxsize=16)
def window_of(scenario: Scenario, world: World) -> ReplayWindow:
    """Return the rows of a replayed world, laid out once for each process."""
    return ReplayWindow(scenario, world, scenarios.recording_of(world))


def _replicates(scenario: Scenario, seed: int, replicates: Sequence[int]) -> list[RunRecord]:
    """Run every world and policy of some replicates."""
    records: list[RunRecord] = []
    for replicate in replicates:
        for world in scenario.worlds:
            source = source_of(scenario, world, seed=seed, replicate=replicate)
            records.extend(
                _run(scenario, world, policy, source, seed=seed, replicate=replicate, keep=replicate == 0)
                for policy in scenario.policies
            )
    return records


def _run(
    scenario: Scenario, world: World, policy: Policy, source: Source, *, seed: int, replicate: int, keep: bool
) -> RunRecord:
    try:
        return Run(scenario, world, policy, source, seed=seed, replicate=replicate, keep=keep).run()
    except InvariantViolation as violation:
        again = identity.run_again(scenario, world.name, policy.name, seed=seed, replicate=replicate)
        raise InvariantViolation(violation.message, hint=again) from violation
    except Exception as error:  # whatever a run dies of, its reproduction line must not be lost
        again = identity.run_again(scenario, world.name, policy.name, seed=seed, replicate=replicate)
        raise Phase4Error(f"a run died: {type(error).__name__}: {error}", hint=again) from error


def _results(
    scenario: Scenario, seed: int, chunks: Sequence[tuple[int, ...]], workers: int
) -> Iterator[list[RunRecord]]:
    if workers == 1 or len(chunks) == 1:
        for chunk in chunks:
            for replicate in chunk:
                yield _replicates(scenario, seed, (replicate,))
        return
    context = get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), mp_context=context, initializer=_begin_worker, initargs=(scenario,)
    )
    try:
        yield from _from_pool(pool, seed, chunks, workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _from_pool(
    pool: ProcessPoolExecutor, seed: int, chunks: Sequence[tuple[int, ...]], workers: int
) -> Iterator[list[RunRecord]]:
    """Keep a few chunks in flight; results come as they are ready, their order does not matter."""
    waiting = iter(chunks)
    flying: set[Future[list[RunRecord]]] = set()
    exhausted = False
    while flying or not exhausted:
        while not exhausted and len(flying) < WAITING * workers:
            chunk = next(waiting, None)
            if chunk is None:
                exhausted = True
            else:
                flying.add(_submitted(pool, seed, chunk))
        ready, flying = wait(flying, return_when=FIRST_COMPLETED)
        for future in ready:
            try:
                yield future.result()
            except BrokenProcessPool as error:
                text = "a worker process was killed; too little memory does that. Fewer --workers need less of it"
                raise Phase4Error(text) from error


def _submitted(pool: ProcessPoolExecutor, seed: int, chunk: tuple[int, ...]) -> Future[list[RunRecord]]:
    """Hand in a chunk. A worker that starts for it inherits that Ctrl-C is blocked: the parent alone answers it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_chunk, seed, chunk)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker_scenario: list[Scenario] = []


def _begin_worker(scenario: Scenario) -> None:
    """Keep the scenario for all chunks."""
    _worker_scenario[:] = [scenario]


def _chunk(seed: int, replicates: tuple[int, ...]) -> list[RunRecord]:
    return _replicates(_worker_scenario[0], seed, replicates)
