"""Scenario files: typed, frozen, strict. Every problem is reported at once, with its path and what would be right."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import rfc8785

from phase4 import durations
from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import RepeatGuardrail
from phase4.clock import iso
from phase4.documents import Table
from phase4.errors import PlanInvalid, RecordingInvalid, ScenarioInvalid, nearest
from phase4.rollout.guardrail_table import GUIDE
from phase4.rollout.plan import RolloutPlan, parse_plan
from phase4.sim import recording as recordings
from phase4.sim.faults import Fault, FaultArm, FaultKind, FaultShape
from phase4.sim.population import EVERYBODY, Activity, Equal, Lognormal, Pareto, Population, UserClass
from phase4.sim.recording import Columns, Recording
from phase4.sim.service import LognormalLatency
from phase4.sim.shapes import Constant, Diurnal, Shape

SCHEMA = 1
DEFAULT_PLAN = "default"
"""Name that stands for the guide's plan, which ships with the package."""
MAX_TICKS = 2_000_000
MAX_USERS = 10_000_000
FIGURES = (
    "false_rollback",
    "caught",
    "held",
    "completed",
    "delay_median_hours",
    "harmed_users",
)
"""Figures that an `[[expect.cell]]` may bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Traffic that replays the rows of a recording."""

    file: str
    """Path as the scenario names it."""
    path: Path
    columns: Columns
    scale: int
    """How many copies of the recorded population there are, each with ids of its own."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Synthetic traffic: requests by a shape, failing with one probability, or with that of their users' class."""

    shape: Shape
    error_rate: float
    population: Population | None = None
    """Who makes the requests; None = there are no users."""
    latency: LognormalLatency | None = None
    """How long requests take; None = nobody measures it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the policies are put through."""

    name: str
    about: str
    start_ms: int
    """Moment of the first tick, ms since the Unix epoch."""
    traffic: Replay | Counts
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A plan under a name."""

    name: str
    about: str
    plan: RolloutPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Approver:
    """A person who answers approval requests."""

    median_ms: int
    """Median time to the answer, in ms."""
    sigma: float
    """Spread of the logarithm of that time; 0 = always the median."""
    reject_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExpectation:
    """How one run should end."""

    phase: str
    guardrail: str | None
    within_ms: int | None
    """Longest time from the onset to the rollback, in ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellExpectation:
    """A bound on a figure of one world and policy of a sweep."""

    world: str
    policy: str
    figure: str
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything a rehearsal needs. A scenario that exists is valid."""

    name: str
    covers: str
    source: str
    """Path of the file, for messages and reproduction lines."""
    seed: int
    duration_ms: int
    tick_ms: int
    flag_key: str
    worlds: tuple[World, ...]
    policies: tuple[Policy, ...]
    approver: Approver
    replicates: int
    expect_run: RunExpectation | None
    expect_cells: tuple[CellExpectation, ...]

    @property
    def ticks(self) -> int:
        """Number of ticks of a run."""
        return self.duration_ms // self.tick_ms

    @property
    def outcome_sets(self) -> frozenset[OutcomeSet]:
        """Outcome sets whose users some policy counts. What is drawn follows from all policies, never from one."""
        return frozenset().union(*(policy.plan.outcome_sets for policy in self.policies))

    @property
    def counts_repeats(self) -> bool:
        """Whether some policy asks for users who fail again and again."""
        every = (spec for policy in self.policies for specs in policy.plan.guardrails for spec in specs)
        return any(isinstance(spec, RepeatGuardrail) for spec in every)

    @property
    def measures(self) -> frozenset[str]:
        """What is measured in the worlds beside how requests end: `latency`, or nothing."""
        has_latency = any(isinstance(w.traffic, Counts) and w.traffic.latency is not None for w in self.worlds)
        return frozenset({"latency"} if has_latency else ())

    @property
    def mode(self) -> str:
        """`replay` or `counts`."""
        return "replay" if isinstance(self.worlds[0].traffic, Replay) else "counts"

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the resolved scenario's canonical JSON.

        Plans count by digest, data by its bytes; paths and texts for people do not count.
        """
        return hashlib.sha256(rfc8785.dumps(_canonical(self))).hexdigest()

    def world(self, name: str | None) -> World:
        """Return the world of that name; the first for None."""
        return self.worlds[_place(tuple(w.name for w in self.worlds), name, "world", self.source)]

    def policy(self, name: str | None) -> Policy:
        """Return the policy of that name; the first for None."""
        return self.policies[_place(tuple(p.name for p in self.policies), name, "policy", self.source)]


def load(path: Path) -> Scenario:
    """Return the scenario of a TOML file, with its plans and recordings checked.

    Raises:
        ScenarioInvalid: every problem of the file at once, each with its path.
        PlanInvalid: a plan that the file names is wrong.
        RecordingInvalid: a recording that the file names is wrong.
    """
    document = _parse(path)
    problems: list[str] = []
    top = Table(document, "", problems)
    scenario = _Reader(path, problems).read(top)
    if problems or scenario is None:
        raise ScenarioInvalid(dict.fromkeys(problems), source=path.name)
    return scenario


def recording_of(world: World) -> Recording:
    """Return the recording that a replayed world reads."""
    assert isinstance(world.traffic, Replay)
    return recordings.load(world.traffic.path, world.traffic.columns)


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScenarioInvalid(
            "no such file; a scenario is a TOML file, for example sims/first_run.toml", source=str(path)
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioInvalid(f"cannot be read: {error}", source=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ScenarioInvalid(f"is not valid TOML: {error}", source=path.name) from error


def _place(names: tuple[str, ...], name: str | None, what: str, source: str) -> int:
    if name is None:
        return 0
    if name in names:
        return names.index(name)
    close = nearest(name, names)
    hint = f'did you mean "{close}"?' if close else f"known: {', '.join(names)}"
    raise ScenarioInvalid(f'no {what} "{name}"; {hint}', source=Path(source).name)


class _Reader:
    """Reads one scenario document."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self._path = path
        self._problems = problems
        self._run_is_read = True
        """Whether `[run]` is right, so that other tables can be held against it."""
        self._policy_names: list[str] = []
        self._limits = GUIDE
        """What plans do not say; with what the worlds measure."""

    def read(self, top: Table) -> Scenario | None:
        top.integer("schema", low=SCHEMA, high=SCHEMA)
        name, covers = top.text("name"), top.text("covers", "")
        run = top.table("run")
        start_ms = run.moment("start", 0)
        duration_ms = run.duration("duration", low=1)
        tick_ms = run.duration("tick", 30_000, low=500)
        seed = run.integer("seed", low=0)
        run.finish()
        if not self._problems and duration_ms % max(tick_ms, 1):
            run.problem("tick", f"does not divide the duration {durations.show(duration_ms)}")
        if not self._problems and duration_ms // max(tick_ms, 1) > MAX_TICKS:
            run.problem("duration", f"is more than {MAX_TICKS:,} ticks; take a longer tick")
        self._run_is_read = not self._problems
        flag = top.table("flag")
        flag_key = flag.text("key")
        flag.finish()
        traffic = self._traffic(top)
        faults = self._faults(top, duration_ms)
        base = World(name="world", about=covers, start_ms=start_ms, traffic=traffic, faults=faults) if traffic else None
        worlds = self._worlds(top, base, duration_ms)
        policies = self._policies(top, flag_key)
        approver = self._approver(top)
        sweep = top.table("sweep")
        replicates = sweep.integer("replicates", 200, low=1, high=1_000_000)
        sweep.finish()
        expect_run, expect_cells = self._expect(top, worlds)
        top.finish()
        if self._problems or base is None:
            return None
        scenario = Scenario(
            name=name,
            covers=covers,
            source=str(self._path),
            seed=seed,
            duration_ms=duration_ms,
            tick_ms=tick_ms,
            flag_key=flag_key,
            worlds=worlds,
            policies=policies,
            approver=approver,
            replicates=replicates,
            expect_run=expect_run,
            expect_cells=expect_cells,
        )
        self._check_together(scenario)
        return scenario

    def _traffic(self, top: Table) -> Replay | Counts | None:
        table = top.table("traffic")
        scale = table.integer("scale", 1, low=1, high=10_000)
        shape = table.table("shape")
        kind = shape.choice("kind", ["replay", "constant", "diurnal"])
        traffic: Replay | Counts | None
        if kind == "replay":
            traffic = self._replay(shape, scale)
            for key, what in (("baseline", "outcomes"), ("population", "users")):
                if top.has(key):
                    top.problem(key, f"a replayed recording brings its own {what}; leave this table out")
        else:
            baseline = top.table("baseline")
            error_rate = float(baseline.rate("error_rate"))
            latency = _latency(baseline) if baseline.has("latency") else None
            baseline.finish()
            population = _population(top, None)
            _check_rates(baseline, population, error_rate)
            traffic = Counts(
                shape=_rate_shape(shape, kind, scale), error_rate=error_rate, population=population, latency=latency
            )
            if latency is not None:
                self._limits = replace(GUIDE, measures=frozenset({"latency"}))
        shape.finish()
        table.finish()
        return traffic

    def _replay(self, shape: Table, scale: int) -> Replay | None:
        file = shape.text("file")
        latency = shape.text("latency", None)
        columns = Columns(
            time=shape.text("time", "t_ms"),
            unit=shape.text("unit", "unit"),
            outcome=shape.text("outcome", "outcome"),
            latency=latency,
        )
        path = (self._path.parent / file).resolve()
        if not path.is_file():
            shape.problem("file", f'no such file: "{file}" (looked for beside the scenario)')
            return None
        try:
            recordings.load(path, columns)
        except RecordingInvalid as error:
            self._problems.extend(f"{shape.at('file')}: {path.name}: {problem}" for problem in error.problems)
            return None
        return Replay(file=file, path=path, columns=columns, scale=scale, sha256=recordings.sha256(path))

    def _faults(self, table: Table, duration_ms: int) -> tuple[Fault, ...]:
        return tuple(self._fault(t, i, duration_ms) for i, t in enumerate(table.tables("fault")))

    def _fault(self, table: Table, index: int, duration_ms: int) -> Fault:
        what = FaultKind(table.choice("kind", [k.value for k in FaultKind], "error"))
        is_error = what is FaultKind.ERROR
        at_ms = table.duration("at", 0)
        shape = table.table("shape")
        kind = FaultShape(shape.choice("kind", [s.value for s in FaultShape], "step"))
        over_ms = shape.duration("over", low=1) if kind is FaultShape.RAMP else 0
        period_ms = shape.duration("period", low=1) if kind is FaultShape.INTERMITTENT else 0
        duty = float(shape.rate("duty", 0.5)) if kind is FaultShape.INTERMITTENT else 1.0
        shape.finish()
        fault = Fault(
            id=table.text("id", f"fault-{index + 1}"),
            arm=FaultArm(table.choice("arm", [a.value for a in FaultArm])),
            at_ms=at_ms,
            for_ms=table.duration("for", None, low=1),
            add=float(table.rate("add")) if is_error else 0.0,
            kind=what,
            user_class=table.text("class", None) if is_error else None,
            factor=1.0 if is_error else float(table.number("factor", low=0.01, high=100.0, what=_FACTOR)),
            shape=kind,
            over_ms=over_ms,
            period_ms=period_ms,
            duty=duty,
        )
        if self._run_is_read and at_ms >= duration_ms:
            table.problem("at", f"lies outside the run of {durations.show(duration_ms)}")
        table.finish()
        return fault

    def _worlds(self, top: Table, base: World | None, duration_ms: int) -> tuple[World, ...]:
        tables = top.tables("world")
        if not tables:
            return (base,) if base else ()
        worlds = [self._world(table, base, duration_ms) for table in tables]
        self._refuse_doubles("world", [world.name for world in worlds])
        return tuple(worlds)

    def _world(self, table: Table, base: World | None, duration_ms: int) -> World:
        """Return the scenario's world with this table's changes; its faults are added."""
        name, about = table.text("name"), table.text("about", "")
        start_ms = table.moment("start", base.start_ms if base else 0)
        traffic = base.traffic if base else None
        if isinstance(traffic, Replay):
            traffic = replace(traffic, scale=table.integer("scale", traffic.scale, low=1, high=10_000))
        elif isinstance(traffic, Counts):
            rate = float(table.rate("error_rate", traffic.error_rate))
            population = _population(table, traffic.population)
            if table.has("error_rate") or table.has("population"):  # else said of the scenario's own
                _check_rates(table, population, rate)
            traffic = replace(traffic, error_rate=rate, population=population)
        faults = (base.faults if base else ()) + self._faults(table, duration_ms)
        if base is not None:
            table.finish()
        stand_in = traffic if traffic is not None else Counts(shape=Constant(rate=1.0), error_rate=0.0)
        return World(name=name, about=about, start_ms=start_ms, traffic=stand_in, faults=faults)

    def _policies(self, top: Table, flag_key: str) -> tuple[Policy, ...]:
        tables = top.tables("policy")
        if not tables:
            self._problems.append("policy: is missing; a scenario has at least one [[policy]] with a name and a plan")
        policies = []
        for index, table in enumerate(tables):
            name, about, file = table.text("name"), table.text("about", ""), table.text("plan")
            self._policy_names.append(name)
            table.finish()
            plan = self._plan(table, file, flag_key, index)
            if plan is not None:
                policies.append(Policy(name=name, about=about, plan=plan))
        self._refuse_doubles("policy", [policy.name for policy in policies])
        return tuple(policies)

    def _plan(self, table: Table, file: str, flag_key: str, index: int) -> RolloutPlan | None:
        try:
            if file == DEFAULT_PLAN:
                text = resources.files("phase4.rollout").joinpath("default_plan.toml").read_text(encoding="utf-8")
            else:
                text = (self._path.parent / file).read_text(encoding="utf-8")
            document = tomllib.loads(text)
            if file == DEFAULT_PLAN and self._limits.measures:  # the file has the set for outcomes alone
                del document["guardrails"]
            return parse_plan(
                document,
                flag_key=flag_key,
                plan_id=f"{flag_key}.{index + 1}",
                source=Path(file).name,
                limits=self._limits,
            )
        except UnicodeDecodeError:
            table.problem("plan", f"{Path(file).name}: is no UTF-8 text")
        except OSError:
            table.problem("plan", f'no such file: "{file}" (beside the scenario; "default" is the guide\'s plan)')
        except tomllib.TOMLDecodeError as error:
            table.problem("plan", f"{Path(file).name}: is not valid TOML: {error}")
        except PlanInvalid as error:
            self._problems.extend(f"{table.at('plan')}: {error.source}: {problem}" for problem in error.problems)
        return None

    def _refuse_doubles(self, what: str, names: list[str]) -> None:
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                self._problems.append(f'{what}: two are called "{name}"')

    def _approver(self, top: Table) -> Approver:
        table = top.table("approver")
        approver = Approver(
            median_ms=table.duration("median", 4 * durations.HOUR_MS),
            sigma=float(table.number("sigma", 0.0, low=0.0, high=5.0, what="a spread, 0 to 5")),
            reject_p=float(table.rate("reject_p", 0.0)),
        )
        table.finish()
        return approver

    def _expect(
        self, top: Table, worlds: tuple[World, ...]
    ) -> tuple[RunExpectation | None, tuple[CellExpectation, ...]]:
        table = top.table("expect")
        run = None
        if table.has("phase"):
            phases = ["COMPLETED", "ROLLED_BACK", "PAUSED", "PROGRESSING", "AWAITING_APPROVAL", "PENDING", "CANCELLED"]
            run = RunExpectation(
                phase=table.choice("phase", phases),
                guardrail=table.text("guardrail", None),
                within_ms=table.duration("within", None, low=1),
            )
        cells = []
        for cell in table.tables("cell"):
            cells.append(
                CellExpectation(
                    world=cell.choice("world", [w.name for w in worlds] or ["?"]),
                    policy=cell.choice("policy", self._policy_names or ["?"]),
                    figure=cell.choice("figure", FIGURES),
                    at_least=cell.number("at_least", None, low=0.0, high=1e12, what="a number, at least 0"),
                    at_most=cell.number("at_most", None, low=0.0, high=1e12, what="a number, at least 0"),
                )
            )
            if cells[-1].at_least is None and cells[-1].at_most is None:
                cell.problem("at_most", "an expectation has at_least, at_most or both")
            cell.finish()
        table.finish()
        return run, tuple(cells)

    def _check_together(self, scenario: Scenario) -> None:
        """Check what only the whole scenario shows: days that the recording has, users that a policy counts."""
        for index, world in enumerate(scenario.worlds):
            place = f"world[{index}].start" if len(scenario.worlds) > 1 else "run.start"
            if isinstance(world.traffic, Replay):
                first, last = recording_of(world).span
                if (
                    world.start_ms < first - scenario.tick_ms
                    or world.start_ms + scenario.duration_ms > last + durations.DAY_MS
                ):
                    self._problems.append(
                        f"{place}: the recording has {iso(first)} to {iso(last)}; a run from {iso(world.start_ms)}"
                        f" of {durations.show(scenario.duration_ms)} goes beyond it"
                    )
        nobody = [w for w in scenario.worlds if isinstance(w.traffic, Counts) and w.traffic.population is None]
        if nobody and scenario.outcome_sets:
            users = [p.name for p in scenario.policies if p.plan.outcome_sets]
            self._problems.append(
                f"policy: {', '.join(users)}: synthetic counts without [population] have no users; add that table,"
                ' or give each guardrail unit = "request"'
            )
        self._check_classes(scenario)
        self._check_measures(scenario)

    def _check_classes(self, scenario: Scenario) -> None:
        """Note faults of users who are in no class of their world."""
        for world in scenario.worlds:
            population = world.traffic.population if isinstance(world.traffic, Counts) else None
            names = [one.name for one in population.classes] if population is not None else []
            for fault in world.faults:
                if fault.user_class is not None and fault.user_class not in names:
                    known = f"its classes are {', '.join(names)}" if names else "it has no [population] with classes"
                    self._problems.append(
                        f'fault: {fault.id}: world "{world.name}": no class "{fault.user_class}"; {known}'
                    )

    def _check_measures(self, scenario: Scenario) -> None:
        """Note faults and guardrails that need what no world measures: they would wait for it for ever."""
        where = "a recording's latencies are not replayed" if scenario.mode == "replay" else "[baseline] has no latency"
        for world in scenario.worlds:
            slow = [fault.id for fault in world.faults if fault.kind is FaultKind.LATENCY]
            if slow and not scenario.measures:
                self._problems.append(f"fault: {slow[0]}: {where}, so nothing can get slower")
                break
        for policy in scenario.policies:
            missing = sorted(policy.plan.measures - scenario.measures)
            if missing:
                named = ", ".join(missing)
                end = f"; {where}" if "latency" in missing else "; rehearsals draw no such metric"
                self._problems.append(f"policy: {policy.name}: its plan judges {named}{end}")


_FACTOR = "a factor, 0.01 to 100"


def _latency(baseline: Table) -> LognormalLatency:
    table = baseline.table("latency")
    table.choice("dist", ["lognormal"])
    latency = LognormalLatency(
        median_ms=float(table.number("median_ms", low=0.01, high=600_000.0, what="ms, 0.01 to 600,000")),
        sigma=float(table.number("sigma", low=0.05, high=3.0, what="a spread, 0.05 to 3")),
    )
    table.finish()
    return latency


def _rate_shape(shape: Table, kind: str, scale: int) -> Shape:
    rate = float(shape.number("rate", low=1e-6, high=1e9, what="requests per second, above 0")) * scale
    if kind == "constant":
        return Constant(rate=rate)
    swing = float(shape.number("swing", 0.5, low=0.0, high=1.0, what="a share of the mean, 0 to 1"))
    return Diurnal(rate=rate, swing=swing, peak_ms=shape.duration("peak", 14 * durations.HOUR_MS))


def _population(parent: Table, base: Population | None) -> Population | None:
    """Return the population of a `[population]` table; what it leaves out is that of `base`."""
    if not parent.has("population"):
        return base
    table = parent.table("population")
    if base is None:
        users = table.integer("users", low=1, high=MAX_USERS)
        base = Population(users=users)
    else:
        users = table.integer("users", base.users, low=1, high=MAX_USERS)
    activity = _activity(table) if table.has("activity") else base.activity
    classes = _classes(table) if table.has("classes") else base.classes
    table.finish()
    population = Population(users=users, activity=activity, classes=classes)
    for index, size in enumerate(population.class_sizes):
        if size == 0 and 0.0 < classes[index].share <= 1.0:
            table.problem(f"classes[{index}].share", f"is nobody of {users:,} users: {classes[index].share:g}")
    return population


def _activity(population: Table) -> Activity:
    table = population.table("activity")
    dist = table.choice("dist", ["equal", "pareto", "lognormal"])
    activity: Activity = Equal()
    if dist == "pareto":
        activity = Pareto(alpha=float(table.number("alpha", low=1.01, high=100.0, what="an exponent, 1.01 to 100")))
    elif dist == "lognormal":
        activity = Lognormal(sigma=float(table.number("sigma", low=0.01, high=5.0, what="a spread, 0.01 to 5")))
    table.finish()
    return activity


def _classes(population: Table) -> tuple[UserClass, ...]:
    known = len(population.problems)
    classes = []
    for table in population.tables("classes"):
        rate = table.rate("error_rate", None)
        if rate is not None and table.has("error_rate_factor"):
            table.problem("error_rate_factor", "a class has this or error_rate, not both")
        classes.append(
            UserClass(
                name=table.text("name"),
                share=float(table.number("share", low=1e-9, high=1.0, what="a share of the users, above 0, at most 1")),
                error_rate=None if rate is None else float(rate),
                error_rate_factor=float(
                    table.number("error_rate_factor", 1.0, low=0.0, high=1e6, what="a factor, at least 0")
                ),
            )
        )
        table.finish()
    names = [one.name for one in classes]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            population.problem("classes", f'two are called "{name}"')
    total = sum(one.share for one in classes)
    if len(population.problems) == known and abs(total - 1.0) > 1e-9:
        population.problem("classes", f"their shares add up to 1: {total:g}")
    # a mistake in a share is reported once: with shares that mean nothing, nothing else is said about them
    return tuple(classes) if len(population.problems) == known else EVERYBODY


def _check_rates(table: Table, population: Population | None, error_rate: float) -> None:
    """Note which class would fail more than always in a world of that error rate."""
    for one in population.classes if population is not None else ():
        if one.rate(error_rate) > 1.0:
            text = (
                f'class "{one.name}" fails {one.error_rate_factor:g} times as often as {error_rate:g}: that is above 1'
            )
            table.problem("error_rate", text)


def _canonical(scenario: Scenario) -> dict[str, Any]:
    def world(w: World) -> dict[str, Any]:
        traffic = asdict(w.traffic)
        traffic.pop("path", None)
        traffic.pop("file", None)
        traffic["kind"] = type(w.traffic).__name__
        if isinstance(w.traffic, Counts):
            traffic["shape"]["kind"] = type(w.traffic.shape).__name__
            if w.traffic.latency is None:  # as it was before there were latencies
                del traffic["latency"]
            if w.traffic.population is None:  # as it was before there were populations
                del traffic["population"]
            else:
                traffic["population"]["activity"]["kind"] = type(w.traffic.population.activity).__name__
        return {"name": w.name, "start_ms": w.start_ms, "traffic": traffic, "faults": list(map(_fault, w.faults))}

    body: dict[str, Any] = {
        "schema": SCHEMA,
        "name": scenario.name,
        "duration_ms": scenario.duration_ms,
        "tick_ms": scenario.tick_ms,
        "flag_key": scenario.flag_key,
        "worlds": [world(w) for w in scenario.worlds],
        "policies": [{"name": p.name, "plan": p.plan.digest} for p in scenario.policies],
        "approver": asdict(scenario.approver),
    }
    strings: dict[str, Any] = _strings(body)
    return strings


def _fault(fault: Fault) -> dict[str, Any]:
    body = asdict(fault)
    if fault.kind is FaultKind.ERROR:  # as it was when there was no other kind
        del body["kind"], body["factor"]
    if fault.user_class is None:  # as it was when faults hit everybody
        del body["user_class"]
    return body


def _strings(value: Any) -> Any:
    """Return the value with enums as plain strings, for the canonical JSON."""
    if isinstance(value, dict):
        return {str(k): _strings(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strings(v) for v in value]
    return str(value) if isinstance(value, str) else value
