# SPDX-License-Identifier: MIT
"""What the benchmark measures, on which kernels and how often, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.bench.baselines import (
    BASELINES,
    DAEMON_02,
    DAEMON_5,
    MEMCG,
    PATCHED,
    PATCHED_4096,
    SCAN_ALWAYS,
    STOCK,
    TIMER,
    Baseline,
)
from harness.targets.model import PAGE

# What --part may select.
PARTS = ("counts", "kills", "crowds", "bystanders", "times")
MIB = 1 << 20
# The user whose memory is measured (u0_a70), and the first of those that only have a limit.
UID = 10070
FIRST_OTHER_UID = 20000
# The first of those that only have processes.
FIRST_STRANGER = 30000
# Far above the usage of any work, even with the pages of 1000 idle processes.
FAR_LIMIT = 900 * MIB
OTHERS_LIMIT = 64 * MIB


@dataclass(frozen=True)
class Setting:
    """The conditions of a work: limits, and idle processes of the user."""

    name: str
    text: str
    own_limit: bool = False
    others: int = 0
    processes: int = 0
    # Idle processes of other users.
    strangers: int = 0


@dataclass(frozen=True)
class Work:
    """A work to measure: a command of bench_work, without its last word, the number of runs."""

    name: str
    words: tuple[str, ...]
    # Runs of one program; the first is not counted, because its caches are cold.
    runs: int = 4
    # Whether root does it, and not the measured user.
    by_root: bool = False


@dataclass(frozen=True)
class Overcommit:
    """Processes that together grow beyond a limit until one of them is killed."""

    processes: int
    limit_mib: int
    kills: int


@dataclass(frozen=True)
class Bystanders:
    """What others feel of a user that exceeds its limit, on one kernel: how often to measure it."""

    # The processes that are killed at once beside a bystander.
    processes: int
    massacres: int
    # Runs in which root reads what the user writes to a pipe.
    pipes: int = 0
    # Runs in which the user forks near its limit.
    looks: int = 0


@dataclass(frozen=True)
class Counting:
    """A count of instructions on one kernel.

    The countings of one setting follow each other on one machine. The state of a kernel's
    caches depends on what ran before, so all kernels must do them in the same order.
    """

    baseline: Baseline
    setting: Setting
    work: Work
    programs: int = 5


@dataclass(frozen=True)
class Plan:
    """All that one run of the benchmark does."""

    countings: tuple[Counting, ...]
    overcommits: Mapping[str, tuple[Overcommit, ...]]
    # The number of crowds for each kernel.
    crowds: Mapping[str, int]
    # Over-commits whose times count, on the machine whose clock counts instructions.
    freed: Mapping[str, tuple[Overcommit, ...]]
    bystanders: Mapping[str, Bystanders]
    # Wall-clock: every work on every kernel, in turns, with the user's limit out of reach.
    timed: tuple[Baseline, ...] = ()
    timed_works: tuple[Work, ...] = ()
    rounds: int = 0

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """All kernels that the plan needs, in the order in which to build them."""
        names = {one.baseline.name for one in self.countings}
        names |= {one.name for one in self.timed}
        for some in (self.overcommits, self.crowds, self.freed, self.bystanders):
            names |= some.keys()
        return tuple(one for one in BASELINES.values() if one.name in names)


NONE = Setting("none", "no limit")
OTHERS_10 = Setting("others-10", "10 limits of other users", others=10)
OTHERS_4096 = Setting("others-4096", "4096 limits of other users", others=4096)
OWN = Setting("own", "a limit of its own, far above", own_limit=True)
CROWDED = tuple(
    Setting(f"own-{count}", f"the same, {count} processes", own_limit=True, processes=count)
    for count in (10, 100, 1000)
)
# The user has some processes to look at, as often as not.
BESIDE = tuple(
    Setting(
        f"beside-{count}",
        f"the same, 10 processes, {count} of other users",
        own_limit=True,
        processes=10,
        strangers=count,
    )
    for count in (10, 2000, 10000)
)
# No user may have more processes than half of what the machine's memory is good for.
STRANGERS_EACH = 1000
SETTINGS = MappingProxyType(
    {one.name: one for one in (NONE, OTHERS_10, OTHERS_4096, OWN, *CROWDED, *BESIDE)}
)

TOUCH = Work("touch", ("touch", "32768"))
# For many idle processes, where a walk over all of them takes long.
TOUCH_LESS = Work("touch-less", ("touch", "8192"))
TOUCH_LEAST = Work("touch-less", ("touch", "8192"), runs=2)
FORK = Work("fork", ("fork", "300"), runs=9)
# Each time that the limit is set, the user is looked at.
LOOK = Work("look", ("look", str(UID), str(FAR_LIMIT), "200"), by_root=True)
STORM = Work("storm", ("storm", "4", "8192"))


def _report(processes: int, mib: int) -> Work:
    """Return a work of the 2020 report: so many processes that touch so many MiB each.

    Small works run more often: in a short one the clock's interrupts would show.
    """
    runs = 1 + max(2, _RUN_MIB // (processes * mib))
    return Work(f"{processes}x{mib}", ("work", str(processes), str(mib * MIB // PAGE)), runs)


# The least that all counted runs of one work touch together.
_RUN_MIB = 64
# The works of the 2020 report.
REPORT_2020 = tuple(
    _report(processes, mib)
    for processes, sizes in ((1, (4, 32, 64, 128)), (4, (1, 4, 16, 64)), (8, (1, 4, 16)))
    for mib in sizes
)

# Processes and limits (MiB) of the over-commit cases.
OVERCOMMITS = tuple((processes, mib) for mib in (64, 128) for processes in (1, 4, 8))
CROWD_PROCESSES, CROWD_MIB, CROWD_LIMIT_MIB = 64, 2, 64
# Memory of the victim that is stuck beside a pipe: three quarters of this.
PIPE_LIMIT_MIB = 60
# What a massacre leaves its user. Each process has more.
MASSACRE_LIMIT, MASSACRE_PAGES = PAGE, 16
# What a user has that forks near its limit, but for the room that is left to it: about 1.4 MB,
# and the pages of the process that forks and of its child.
NEAR_PAGES, NEAR_LEFT, NEAR_FORKER = 2048, 350, 160
NEAR = Work("fork", ("fork", "150"), runs=2)
# The processes stop growing when they are this far above the limit: some alternatives would
# otherwise let them take all of the machine's memory.
MOST_ABOVE_MIB = 320


def _countings() -> tuple[Counting, ...]:
    found = [Counting(STOCK, NONE, work) for work in (TOUCH, FORK, STORM)]
    found += [Counting(STOCK, crowded, TOUCH_LESS) for crowded in CROWDED]
    for setting in (NONE, OTHERS_10, OWN):
        found += [Counting(PATCHED, setting, work) for work in (TOUCH, FORK, STORM)]
    found += [Counting(PATCHED, crowded, TOUCH_LESS) for crowded in CROWDED]
    found += [Counting(PATCHED_4096, setting, TOUCH) for setting in (NONE, OTHERS_10, OTHERS_4096)]
    for other in (SCAN_ALWAYS, TIMER, DAEMON_5, DAEMON_02, MEMCG):
        found += [Counting(other, OWN, work) for work in (TOUCH, FORK, STORM)]
    found += [Counting(PATCHED, beside, LOOK) for beside in (BESIDE[0], BESIDE[-1])]
    few, some, many = CROWDED
    found += [Counting(SCAN_ALWAYS, crowded, TOUCH_LESS, programs=2) for crowded in (few, some)]
    found += [Counting(SCAN_ALWAYS, many, TOUCH_LEAST, programs=1)]
    for other in (STOCK, PATCHED, SCAN_ALWAYS, TIMER, DAEMON_5, DAEMON_02, MEMCG):
        setting = OWN if other.has_limits else NONE
        found += [Counting(other, setting, work) for work in REPORT_2020]
    # One kernel after the other, each in the order above.
    order = list(BASELINES)
    return tuple(sorted(found, key=lambda one: order.index(one.baseline.name)))


def full() -> Plan:
    """Return the plan for docs/benchmarks.md."""
    killing = (PATCHED, SCAN_ALWAYS, TIMER, DAEMON_02, MEMCG)
    thirty = tuple(Overcommit(processes, mib, 30) for processes, mib in OVERCOMMITS)
    twenty = tuple(Overcommit(processes, mib, 20) for processes, mib in OVERCOMMITS)
    # Fewer, because a kill of DAEMON_5 takes up to 5 s.
    ten = tuple(Overcommit(processes, mib, 10) for processes, mib in OVERCOMMITS)
    return Plan(
        countings=_countings(),
        timed=(STOCK, PATCHED, SCAN_ALWAYS, TIMER, DAEMON_5, DAEMON_02, MEMCG),
        timed_works=(*REPORT_2020, replace(FORK, runs=3), replace(STORM, runs=3)),
        rounds=10,
        overcommits={**{one.name: thirty for one in killing}, DAEMON_5.name: ten},
        crowds={**{one.name: 10 for one in killing}, DAEMON_5.name: 5},
        # Not DAEMON_5, whose seconds would all be counted.
        freed={one.name: twenty if one is PATCHED else ten for one in killing},
        bystanders={
            STOCK.name: Bystanders(processes=2000, massacres=5),
            PATCHED.name: Bystanders(processes=2000, massacres=5, pipes=10, looks=5),
        },
    )


def quick() -> Plan:
    """Return a plan for the main figures, in about five minutes."""
    few, _, many = CROWDED
    works = (TOUCH, FORK, STORM)
    settings = (NONE, OTHERS_10, OWN)
    return Plan(
        countings=(
            *(Counting(STOCK, NONE, work, programs=3) for work in works),
            *(Counting(PATCHED, setting, w, programs=3) for setting in settings for w in works),
            *(Counting(PATCHED, crowded, TOUCH_LESS) for crowded in (few, many)),
            *(Counting(PATCHED, beside, LOOK, programs=2) for beside in BESIDE[:2]),
            Counting(SCAN_ALWAYS, OWN, TOUCH, programs=2),
        ),
        overcommits={
            PATCHED.name: (Overcommit(4, 64, 20),),
            TIMER.name: (Overcommit(4, 64, 5),),
        },
        crowds={PATCHED.name: 1},
        freed={PATCHED.name: tuple(Overcommit(*case, 5) for case in OVERCOMMITS)},
        bystanders={PATCHED.name: Bystanders(processes=300, massacres=3, pipes=3, looks=1)},
    )
