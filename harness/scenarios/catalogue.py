# SPDX-License-Identifier: MIT
"""The scenarios as data: what runs on the device, and the expected result.

A scenario is a list of steps, done in order; a run that has started holds its memory until
the last step is done. A run is one oom test program with its children, which allocate one
after the other. Besides these allocations, the run's parent and each child have 0.4 MB of
their own; the sizes below leave room for that, so that the expected result does not depend
on it. All sizes and limits are bytes.

Touching memory takes CPU time, and how much depends on the host's load. Where the policy
runtime must pick the child that crosses the limit, that child is several times larger than
the others.

A child may differ from the usual one, a process with one thread that touches what it has
allocated: it may share the memory of the child before it, do its work in another thread, or
take its memory in one read(). Where root starts a run, the children become the user's
themselves; then one may become another user's, or only when it has its memory.

Two scenarios have `two_cpus`: in one, process after process dies while the others go on; in the
other, two processes that share their memory die together. All others are as good on one CPU.

A step or expectation holds for both triggers: with `alloc` the child that crosses the limit
is stopped while it allocates; with `daemon` it has allocated everything when the daemon calls
the killer. In both cases the same process must be the victim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from harness.core.errors import UsageError
from harness.kernel_output.records import FIGURE_OF_POLICY

POLICIES = tuple(FIGURE_OF_POLICY)
TRIGGERS = ("alloc", "daemon")
# The program that runs a scenario's children, by trigger.
PROGRAMS = {"alloc": "oom_test_kernel", "daemon": "oom_test_daemon"}

# The uid of Android's first app, u0_a0, in Bionic and in our guest.
_FIRST_APP_UID = 10000
# The value that removes a limit: the programs' word for ULONG_MAX.
NO_LIMIT = "max"
# The oom_score_adj of a shielded run's parent; a process that has it is never a victim.
SHIELD_ADJ = -1000


@dataclass(frozen=True)
class Child:
    """One child: the size of its allocation, and what it does before that.

    It uses `cpu_ms` of CPU time, and `sure_ms` more under the policy runtime: there the
    victim must have used the most CPU time, also on a loaded host.
    """

    size: int
    cpu_ms: int = 0
    sure_ms: int = 0
    adj: int | None = None
    # Its bytes as Latin-1 characters; None: the program's own name.
    name: str | None = None
    # Another process that shares the memory of the child before it. It takes its part there
    # before that child takes its own.
    is_sharer: bool = False
    # What its first thread does while another one does the child's work; None: it works itself.
    leader: Literal["waits", "exits"] | None = None
    # Whether it takes its memory in a single read(), in place of touching it.
    reads: bool = False
    # Only in runs by root: whose process it becomes (None: the run's user), and whether it does
    # so only when it has its memory.
    user: str | None = None
    is_late: bool = False

    def cpu_time(self, policy: str) -> int:
        """Return the CPU time that it uses under this policy, in milliseconds."""
        return self.cpu_ms + (self.sure_ms if policy == "runtime" else 0)


@dataclass(frozen=True)
class Run:
    """A step that starts an oom test program as `user` and waits until its children hold.

    `limit` is the limit that the program sets for `user` (0: none). Root starts a shielded
    run with oom_score_adj -1000, before it becomes the user's; its children inherit
    that unless they have an `adj`. With `together` all children allocate at the same time.
    With `by_root` the program stays root's, and each child becomes the user's.
    """

    name: str
    user: str
    children: tuple[Child, ...]
    limit: int = 0
    shielded: bool = False
    together: bool = False
    by_root: bool = False

    @property
    def runner(self) -> str:
        """The user that runs the program itself."""
        return "root" if self.by_root else self.user

    def user_of(self, child: Child) -> str:
        """Return whose process a child of the run is in the end."""
        return child.user or self.user

    def taker_of(self, child: Child) -> str:
        """Return whose process a child is when it takes its memory."""
        return "root" if child.is_late else self.user_of(child)

    def elder_of(self, index: int) -> int:
        """Return the child whose memory child `index` shares: itself, if it is no sharer."""
        return max(first for first in range(index + 1) if not self.children[first].is_sharer)

    def shared(self, index: int) -> tuple[int, ...]:
        """Return the children that share their memory with child `index`, and itself."""
        elder = self.elder_of(index)
        return tuple(
            number for number in range(len(self.children)) if self.elder_of(number) == elder
        )


@dataclass(frozen=True)
class SetLimit:
    """A step in which `caller` sets the limit of `user`; `expect` is 0, 1 or an errno's name."""

    caller: str
    user: str
    limit: int | str
    expect: str = "0"


@dataclass(frozen=True)
class Modules:
    """A step that loads or unloads the modules that supply the syscalls."""

    loaded: bool


Step = Run | SetLimit | Modules


@dataclass(frozen=True)
class Victims:
    """The expectation that these children of the run `run` die, and no others of any run."""

    run: str
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Enough:
    """The expectation that any children of the run die, but no more than necessary.

    At the end the run's user is within its limit, and would not be if the largest victim
    were alive, give or take `slack` bytes.
    """

    run: str
    slack: int = 0


# The expected result of a scenario; None: no process dies.
Expected = Victims | Enough | None


@dataclass(frozen=True)
class Scenario:
    """A scenario, and its expected result under each policy."""

    name: str
    title: str
    steps: tuple[Step, ...]
    expected: Mapping[str, Expected]
    # The triggers under which the scenario makes sense.
    triggers: tuple[str, ...] = TRIGGERS
    # What /proc/mm_limits must show at the end, user to limit; None: no entry.
    limits: Mapping[str, int | None] = field(default_factory=dict)
    # Users for which the kernel must log, once, that it has no process left to kill.
    nobody_left: tuple[str, ...] = ()
    # Users whose entry the kernel must log as dropped from the full table.
    dropped: tuple[str, ...] = ()
    # Whether it is to run on two CPUs.
    two_cpus: bool = False

    @property
    def runs(self) -> tuple[Run, ...]:
        """The steps that are runs."""
        return tuple(step for step in self.steps if isinstance(step, Run))

    @property
    def settings(self) -> tuple[SetLimit, ...]:
        """The steps that set a limit."""
        return tuple(step for step in self.steps if isinstance(step, SetLimit))

    def run(self, name: str) -> Run:
        """Return the run called `name`."""
        return next(run for run in self.runs if run.name == name)

    def expected_of(self, run: Run, policy: str) -> Expected:
        """Return the expectation about this run's children; None: all of them live."""
        expected = self.expected[policy]
        return None if expected is None or expected.run != run.name else expected


def uid_of(user: str) -> int:
    """Return the uid of "root" or "u0_aN"."""
    return 0 if user == "root" else _FIRST_APP_UID + int(user.removeprefix("u0_a"))


MB = 1_000_000
OFFENDER = "u0_a70"
# The CPU time that a child burns to have the most in its run, also on a loaded host.
_SURE_MS = 150


def _sizes(*sizes: int) -> tuple[Child, ...]:
    return tuple(Child(size) for size in sizes)


def _offence(*children: Child, limit: int) -> Run:
    """Build the offender's run, shielded: its parent may use enough CPU time to be a victim."""
    ordinary = tuple(replace(child, adj=child.adj or 0) for child in children)
    return Run("main", OFFENDER, ordinary, limit=limit, shielded=True)


def _always(expected: Expected) -> Mapping[str, Expected]:
    return MappingProxyType(dict.fromkeys(POLICIES, expected))


def _by_policy(**expected: Expected) -> Mapping[str, Expected]:
    """Return what is expected under each policy; a test checks that no policy is missing."""
    return MappingProxyType(expected)


def _by_root(*children: Child, limit: int) -> Run:
    """Build the offender's run, started by root, which has no limit: its parent is no victim."""
    return Run("main", OFFENDER, children, limit=limit, by_root=True)


NEIGHBOUR = "u0_a71"
BYSTANDER = "u0_a72"
# CONFIG_MM_LIMITS_SLOTS, and as many users that only fill the table.
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
                    # sure_ms for the same reason as in `course`.
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
        # The parent is not shielded, and on a loaded host uses much CPU time, too.
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
        # They go on while one of them dies: at the end they have a little more or less.
        expected=_always(Enough("main", slack=1 * MB)),
        limits={OFFENDER: 56 * MB},
        two_cpus=True,
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
            # Larger, and under runtime with more CPU time, than all other processes.
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
            # Small sizes: touching pages takes CPU time, too, and much of it on a loaded host.
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
        name="sharers",
        title="a process shares the victim's memory: both die",
        steps=(
            _offence(
                Child(1 * MB),
                Child(6 * MB, sure_ms=_SURE_MS),
                Child(3 * MB, is_sharer=True),
                limit=8 * MB,
            ),
        ),
        expected=_always(Victims("main", (1, 2))),
        limits={OFFENDER: 8 * MB},
        two_cpus=True,
    ),
    Scenario(
        name="sharers-of-two",
        title="another user's process shares it: both die for the limit of the older one's user",
        steps=(
            # Its limit is below what its process shares, and not what that counts for.
            Run("neighbour", NEIGHBOUR, _sizes(1 * MB), limit=4 * MB),
            _by_root(
                Child(1 * MB),
                Child(4 * MB, sure_ms=_SURE_MS),
                Child(5 * MB, is_sharer=True, user=NEIGHBOUR),
                limit=8 * MB,
            ),
        ),
        expected=_always(Victims("main", (1, 2))),
        limits={OFFENDER: 8 * MB, NEIGHBOUR: 4 * MB},
    ),
    Scenario(
        name="threads-time",
        title="a small child's thread, not its leader, used much CPU time: only runtime picks it",
        steps=(
            _offence(
                Child(3 * MB, cpu_ms=50, sure_ms=950, leader="waits"),
                Child(9_800_000),
                limit=12 * MB,
            ),
        ),
        expected=_by_policy(
            rss=Victims("main", (1,)), runtime=Victims("main", (0,)), badness=Victims("main", (1,))
        ),
        limits={OFFENDER: 12 * MB},
    ),
    Scenario(
        name="exited-leader",
        title="the largest process's leader has exited, its thread goes on: it dies",
        steps=(
            _offence(Child(1 * MB), Child(9 * MB, sure_ms=_SURE_MS, leader="exits"), limit=8 * MB),
        ),
        expected=_always(Victims("main", (1,))),
        limits={OFFENDER: 8 * MB},
    ),
    Scenario(
        name="setuid",
        title="root's large process becomes the limited user's: over the limit at once",
        steps=(
            _by_root(Child(2_200_000, sure_ms=750), Child(6 * MB, is_late=True), limit=8_100_000),
        ),
        expected=_by_policy(
            rss=Victims("main", (1,)), runtime=Victims("main", (0,)), badness=Victims("main", (1,))
        ),
        limits={OFFENDER: 8_100_000},
    ),
    Scenario(
        name="read",
        title="one read() goes beyond the limit: its process dies, and gets not far",
        steps=(
            _offence(Child(1 * MB), Child(14 * MB, sure_ms=_SURE_MS, reads=True), limit=8 * MB),
        ),
        expected=_always(Victims("main", (1,))),
        limits={OFFENDER: 8 * MB},
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
        # What a user has set itself lowers what root gives it, whatever came first.
        limits={OFFENDER: 80 * MB, NEIGHBOUR: 3_000 * MB, BYSTANDER: None},
    ),
    Scenario(
        name="table-full",
        title="a full table: the least recently set entry goes, and only for root",
        steps=(
            *(SetLimit("root", user, 50 * MB) for user in _FILLERS),
            # Now the first entry is the most recently set one, and the second the oldest.
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
    """Return all users of the scenario: of its processes, calls and limits."""
    users = [run.user_of(child) for run in scenario.runs for child in run.children]
    users += [user for step in scenario.settings for user in (step.caller, step.user)]
    return {*users, *scenario.limits}


# The uids of all scenarios: no app on an Android device may have one of them.
UIDS = frozenset(uid_of(user) for scenario in SCENARIOS for user in _users(scenario))
_BY_NAME: Mapping[str, Scenario] = MappingProxyType({s.name: s for s in SCENARIOS})


def on_stock(scenario: Scenario) -> Scenario:
    """Return the scenario for a kernel without limits: none can be set, no process dies."""
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
    """Return the policies that `word` means: itself, or all of them for "all"."""
    if word == "all":
        return POLICIES
    if word not in POLICIES:
        raise UsageError(
            f"no policy is called {word!r}", hint=f"one of: {', '.join(POLICIES)}, all"
        )
    return (word,)


def check_trigger(word: str) -> str:
    """Return `word`; UsageError if it is no trigger."""
    if word not in TRIGGERS:
        raise UsageError(f"no trigger is called {word!r}", hint=f"one of: {', '.join(TRIGGERS)}")
    return word


def select(names: tuple[str, ...] | None, trigger: str) -> tuple[Scenario, ...]:
    """Return the scenarios called `names`, or for None all that make sense under `trigger`.

    Raises UsageError for a name that no scenario has, for a scenario that makes no sense
    under the trigger, and if `names` is empty.
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
