# SPDX-License-Identifier: MIT
"""The scenarios: what is run on the device, and what must come of it, as data.

A scenario is a list of steps, done in order; runs that have started hold their
memory until the last step is done. A run is one oom test program with its
children, which allocate one after the other. Besides what they allocate a user
has the run's parent and what every child has, 0.4 MB each; the sizes below
leave room for it, so that what is expected does not hang on it. All sizes are
bytes, all limits too.

Touching memory takes CPU time, and how much depends on the host's load. Where
runtime must pick the child that crosses the limit, that one is several times
larger than the others.

A step or expectation holds for both triggers: with `alloc` the child that
crosses the limit is stopped while it allocates; with `daemon` it has allocated
everything when the daemon comes. In both the same process must be the victim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from harness.core.errors import UsageError

POLICIES = ("rss", "runtime", "badness")
TRIGGERS = ("alloc", "daemon")

# Android's first app: u0_a0. Bionic and our guest agree on it.
_FIRST_APP_UID = 10000
# What a limit is set to in order to remove it; the programs' word for ULONG_MAX.
NO_LIMIT = "max"
# A shielded run's parent; below it nobody is a victim.
SHIELD_ADJ = -1000


@dataclass(frozen=True)
class Child:
    """One child: what it allocates, and what it does before that.

    It uses `cpu_ms` of CPU time, and where CPU time decides `sure_ms` more: there the
    victim has to have used the most also on a loaded host.
    """

    size: int
    cpu_ms: int = 0
    sure_ms: int = 0
    adj: int | None = None
    # As bytes in Latin-1; None: the program's own name.
    name: str | None = None

    def cpu_time(self, policy: str) -> int:
        """What it uses under this policy, in milliseconds."""
        return self.cpu_ms + (self.sure_ms if policy == "runtime" else 0)


@dataclass(frozen=True)
class Run:
    """Starts an oom test program as `user` and waits until its children hold.

    `limit` is what the program sets for `user` (0: nothing). A shielded run is
    started by root with oom_score_adj -1000 before it becomes the user's; its
    children inherit that unless they have an `adj`. With `together` all
    children allocate at the same time.
    """

    name: str
    user: str
    children: tuple[Child, ...]
    limit: int = 0
    shielded: bool = False
    together: bool = False


@dataclass(frozen=True)
class SetLimit:
    """`caller` sets the limit of `user`; `expect` is 0, 1 or an errno's name."""

    caller: str
    user: str
    limit: int | str
    expect: str = "0"


@dataclass(frozen=True)
class Modules:
    """Loads, or unloads, the modules that supply the syscalls."""

    loaded: bool


Step = Run | SetLimit | Modules


@dataclass(frozen=True)
class Victims:
    """Which children of the run `run` must die, and no others, of any run."""

    run: str
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Enough:
    """Any children of the run may die, but no more than must.

    When it is over the run's user is within its limit, and would not have been
    with the largest victim alive, give or take `slack` bytes.
    """

    run: str
    slack: int = 0


# What must come of a scenario; None: nobody dies.
Expected = Victims | Enough | None


@dataclass(frozen=True)
class Scenario:
    """A scenario, and what must come of it under each policy."""

    name: str
    title: str
    steps: tuple[Step, ...]
    expected: Mapping[str, Expected]
    # The triggers under which the scenario means something.
    triggers: tuple[str, ...] = TRIGGERS
    # What /proc/mm_limits must show at the end, user to limit; None: no entry.
    limits: Mapping[str, int | None] = field(default_factory=dict)
    # Users of whom the kernel must say, once, that nobody is left to kill.
    nobody_left: tuple[str, ...] = ()
    # Users whose entry the kernel must say it dropped from the full table.
    dropped: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """The steps that are runs."""
        return tuple(step for step in self.steps if isinstance(step, Run))

    @property
    def settings(self) -> tuple[SetLimit, ...]:
        """The steps that set a limit."""
        return tuple(step for step in self.steps if isinstance(step, SetLimit))

    def run(self, name: str) -> Run:
        """The run called `name`."""
        return next(run for run in self.runs if run.name == name)


def uid_of(user: str) -> int:
    """The uid of "root" or "u0_aN"."""
    return 0 if user == "root" else _FIRST_APP_UID + int(user.removeprefix("u0_a"))


MB = 1_000_000
OFFENDER = "u0_a70"
# CPU time that a child burns to have the most of its run, also on a loaded host.
_SURE_MS = 150


def _sizes(*sizes: int) -> tuple[Child, ...]:
    return tuple(Child(size) for size in sizes)


def _offence(*children: Child, limit: int) -> Run:
    """The offender's run, whose parent is out of the choice: its CPU time is not small enough."""
    ordinary = tuple(replace(child, adj=child.adj or 0) for child in children)
    return Run("main", OFFENDER, ordinary, limit=limit, shielded=True)


def _always(expected: Expected) -> Mapping[str, Expected]:
    return MappingProxyType(dict.fromkeys(POLICIES, expected))


def _by_policy(rss: Expected, runtime: Expected, badness: Expected) -> Mapping[str, Expected]:
    return MappingProxyType({"rss": rss, "runtime": runtime, "badness": badness})


NEIGHBOUR = "u0_a71"
BYSTANDER = "u0_a72"
# CONFIG_MM_LIMITS_SLOTS, and so many users that have nothing else to do.
SLOTS = 10
_FILLERS = tuple(f"u0_a{number}" for number in range(80, 80 + SLOTS))

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="report",
        title="the 2020 report's own command",
        steps=(
            Run(
                "main",
                OFFENDER,
                (
                    *_sizes(20000, 40000, 20000, 30000, 200000),
                    # As in the next one.
                    Child(100 * MB, sure_ms=_SURE_MS),
                ),
                limit=100 * MB,
            ),
        ),
        expected=_always(Victims("main", (5,))),
        limits={OFFENDER: 100 * MB},
    ),
    Scenario(
        name="course",
        title="the course's example: one child above the limit",
        # Its parent is not out of the choice, and on a loaded host takes long, too.
        steps=(Run("main", OFFENDER, (Child(160 * MB, sure_ms=_SURE_MS),), limit=100 * MB),),
        expected=_always(Victims("main", (0,))),
        limits={OFFENDER: 100 * MB},
    ),
    Scenario(
        name="below-limit",
        title="all stay below the limit: nobody dies",
        steps=(Run("main", OFFENDER, _sizes(4 * MB, 5 * MB), limit=12 * MB),),
        expected=_always(None),
        limits={OFFENDER: 12 * MB},
    ),
    Scenario(
        name="many-small",
        title="64 small children exceed the limit together",
        steps=(_offence(*_sizes(*[1_500_000] * 64), limit=56 * MB),),
        # Each process may hold back 64 pages of its RSS from the kernel's sum.
        expected=_always(Enough("main", slack=1 * MB)),
        limits={OFFENDER: 56 * MB},
    ),
    Scenario(
        name="two-users",
        title="two users have limits, one exceeds its own",
        steps=(
            Run("neighbour", NEIGHBOUR, _sizes(4 * MB, 3 * MB), limit=16 * MB),
            _offence(Child(2 * MB), Child(17 * MB, sure_ms=_SURE_MS), limit=16 * MB),
        ),
        expected=_always(Victims("main", (1,))),
        limits={OFFENDER: 16 * MB, NEIGHBOUR: 16 * MB},
    ),
    Scenario(
        name="bystander",
        title="a user without a limit, larger than anyone, lives",
        steps=(
            # Larger, and under runtime with more CPU time, than anyone.
            Run("bystander", BYSTANDER, (Child(18 * MB, sure_ms=3 * _SURE_MS),)),
            _offence(Child(2 * MB), Child(17 * MB, sure_ms=_SURE_MS), limit=16 * MB),
        ),
        expected=_always(Victims("main", (1,))),
        limits={OFFENDER: 16 * MB, BYSTANDER: None},
    ),
    Scenario(
        name="lowered",
        title="root lowers the limit under running processes",
        steps=(
            _offence(Child(3 * MB), Child(16 * MB, sure_ms=_SURE_MS), limit=30 * MB),
            SetLimit("root", OFFENDER, 12 * MB),
        ),
        expected=_always(Victims("main", (1,))),
        limits={OFFENDER: 12 * MB},
    ),
    Scenario(
        name="removed",
        title="root removes the limit: the user may exceed the old one",
        steps=(
            Run("before", OFFENDER, _sizes(5 * MB), limit=10 * MB),
            SetLimit("root", OFFENDER, NO_LIMIT),
            Run("main", OFFENDER, _sizes(16 * MB)),
        ),
        expected=_always(None),
        limits={OFFENDER: None},
    ),
    Scenario(
        name="protected",
        title="a child with oom_score_adj -1000 is larger than the others and lives",
        steps=(
            Run("protected", OFFENDER, _sizes(16 * MB), shielded=True),
            _offence(Child(2 * MB), Child(18 * MB, sure_ms=_SURE_MS), limit=30 * MB),
        ),
        expected=_always(Victims("main", (1,))),
        limits={OFFENDER: 30 * MB},
    ),
    Scenario(
        name="all-protected",
        title="nobody is left to kill: said once, and nobody dies",
        steps=(Run("main", OFFENDER, _sizes(16 * MB), limit=10 * MB, shielded=True),),
        expected=_always(None),
        limits={OFFENDER: 10 * MB},
        nobody_left=(OFFENDER,),
    ),
    Scenario(
        name="runtime-pick",
        title="a small child used much CPU time: only runtime picks it",
        steps=(
            # Small, because touching pages takes CPU time too, on a loaded host much.
            _offence(Child(3 * MB, cpu_ms=250, sure_ms=750), Child(9_800_000), limit=12 * MB),
        ),
        expected=_by_policy(
            rss=Victims("main", (1,)), runtime=Victims("main", (0,)), badness=Victims("main", (1,))
        ),
        limits={OFFENDER: 12 * MB},
    ),
    Scenario(
        name="badness-pick",
        title="a small child has oom_score_adj 800: only badness picks it",
        steps=(
            _offence(
                Child(5 * MB, adj=800),
                Child(1 * MB),
                Child(18 * MB, sure_ms=_SURE_MS),
                limit=22 * MB,
            ),
        ),
        expected=_by_policy(
            rss=Victims("main", (2,)), runtime=Victims("main", (2,)), badness=Victims("main", (0,))
        ),
        limits={OFFENDER: 22 * MB},
    ),
    Scenario(
        name="hostile-name",
        title="the victim's name holds a line end and fields of a record",
        steps=(_offence(Child(16 * MB, name="\nuid=0, \\x,\tp=\xff"), limit=12 * MB),),
        expected=_always(Victims("main", (0,))),
        limits={OFFENDER: 12 * MB},
    ),
    Scenario(
        name="privileges",
        title="who may set, lower, raise and remove which limit",
        steps=(
            SetLimit(OFFENDER, OFFENDER, 100 * MB),
            SetLimit(OFFENDER, OFFENDER, 80 * MB),
            SetLimit(OFFENDER, OFFENDER, 80 * MB),
            SetLimit(OFFENDER, OFFENDER, 80 * MB + 1, expect="EPERM"),
            SetLimit(OFFENDER, OFFENDER, NO_LIMIT, expect="EPERM"),
            SetLimit(OFFENDER, NEIGHBOUR, 50 * MB, expect="EPERM"),
            SetLimit(NEIGHBOUR, OFFENDER, 50 * MB, expect="EPERM"),
            SetLimit(NEIGHBOUR, OFFENDER, NO_LIMIT, expect="EPERM"),
            SetLimit(OFFENDER, "root", 50 * MB, expect="EINVAL"),
            SetLimit("root", "root", 50 * MB, expect="EINVAL"),
            SetLimit("root", OFFENDER, 0, expect="EINVAL"),
            SetLimit("root", OFFENDER, 4095, expect="EINVAL"),
            SetLimit("root", BYSTANDER, 4096),
            SetLimit("root", BYSTANDER, NO_LIMIT),
            SetLimit("root", OFFENDER, 90 * MB),
            SetLimit("root", NEIGHBOUR, 3_000 * MB),
        ),
        expected=_always(None),
        triggers=("alloc",),
        limits={OFFENDER: 90 * MB, NEIGHBOUR: 3_000 * MB, BYSTANDER: None},
    ),
    Scenario(
        name="table-full",
        title="a full table: the least recently set entry goes, and only for root",
        steps=(
            *(SetLimit("root", user, 50 * MB) for user in _FILLERS),
            # The first is the most recently set one now, and the second the oldest.
            SetLimit("root", _FILLERS[0], 51 * MB),
            SetLimit(OFFENDER, OFFENDER, 100 * MB, expect="ENOSPC"),
            SetLimit("root", OFFENDER, 100 * MB, expect="1"),
            SetLimit("root", _FILLERS[2], NO_LIMIT),
            SetLimit(NEIGHBOUR, NEIGHBOUR, 100 * MB),
        ),
        expected=_always(None),
        triggers=("alloc",),
        limits={
            _FILLERS[0]: 51 * MB,
            _FILLERS[1]: None,
            _FILLERS[2]: None,
            **dict.fromkeys(_FILLERS[3:], 50 * MB),
            OFFENDER: 100 * MB,
            NEIGHBOUR: 100 * MB,
        },
        dropped=(_FILLERS[1],),
    ),
    Scenario(
        name="modules",
        title="without its modules a syscall is none; with them it is one again",
        steps=(
            SetLimit("root", OFFENDER, 100 * MB),
            Modules(loaded=False),
            SetLimit("root", OFFENDER, 50 * MB, expect="ENOSYS"),
            SetLimit(OFFENDER, OFFENDER, 50 * MB, expect="ENOSYS"),
            Modules(loaded=True),
            SetLimit(OFFENDER, OFFENDER, 90 * MB),
        ),
        expected=_always(None),
        triggers=("alloc",),
        limits={OFFENDER: 90 * MB},
    ),
)


def _users(scenario: Scenario) -> set[str]:
    """The users of whom the scenario has a process or a limit."""
    users = [run.user for run in scenario.runs]
    users += [user for step in scenario.settings for user in (step.caller, step.user)]
    return {*users, *scenario.limits}


# The users of all scenarios: on a device with apps none of these may have one.
UIDS = frozenset(uid_of(user) for scenario in SCENARIOS for user in _users(scenario))
_BY_NAME: Mapping[str, Scenario] = MappingProxyType({s.name: s for s in SCENARIOS})


def on_stock(scenario: Scenario) -> Scenario:
    """What the same processes do on a kernel without limits: none can be set, nobody dies."""
    steps: list[Step] = []
    for step in scenario.steps:
        if isinstance(step, Run):
            steps.append(replace(step, limit=0))
        elif isinstance(step, SetLimit):
            steps.append(replace(step, expect="ENOSYS"))
    return replace(
        scenario,
        steps=tuple(steps),
        expected=_always(None),
        limits={},
        nobody_left=(),
        dropped=(),
    )


def policies_of(word: str) -> tuple[str, ...]:
    """The policies that `word` means: itself, or all of them for "all"."""
    if word == "all":
        return POLICIES
    if word not in POLICIES:
        raise UsageError(
            f"no policy is called {word!r}", hint=f"one of: {', '.join(POLICIES)}, all"
        )
    return (word,)


def check_trigger(word: str) -> str:
    """`word`, which must be a trigger."""
    if word not in TRIGGERS:
        raise UsageError(f"no trigger is called {word!r}", hint=f"one of: {', '.join(TRIGGERS)}")
    return word


def select(names: tuple[str, ...] | None, trigger: str) -> tuple[Scenario, ...]:
    """The scenarios called `names` (None: all) that mean something under `trigger`.

    UsageError for a name that no scenario has, for one that means nothing under
    the trigger, and if nothing is left.
    """
    if names is None:
        return tuple(scenario for scenario in SCENARIOS if trigger in scenario.triggers)
    unknown = [name for name in names if name not in _BY_NAME]
    if unknown or not names:
        what = f"no scenario is called {unknown[0]!r}" if unknown else "no scenario is named"
        raise UsageError(what, hint=f"some of: {', '.join(_BY_NAME)}")
    chosen = tuple(_BY_NAME[name] for name in dict.fromkeys(names))
    for scenario in chosen:
        if trigger not in scenario.triggers:
            raise UsageError(
                f"scenario {scenario.name} means nothing with trigger {trigger}",
                hint=f"--trigger {scenario.triggers[0]}",
            )
    return chosen
