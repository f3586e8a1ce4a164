# SPDX-License-Identifier: MIT
"""What the benchmark measures, on which kernels and how often: all of it as data."""

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

MIB = 1 << 20
PAGE = 4096
# u0_a70, whose memory is measured, and the first of those who only have a limit.
UID = 10070
FIRST_OTHER_UID = 20000
# Far above what any of the works takes, the 1000 processes' pages of the program among it.
FAR_LIMIT = 900 * MIB
OTHERS_LIMIT = 64 * MIB


@dataclass(frozen=True)
class Setting:
    """What is there beside the work: limits, and processes of the user that do nothing."""

    name: str
    text: str
    own_limit: bool = False
    others: int = 0
    processes: int = 0


@dataclass(frozen=True)
class Work:
    """What is measured: a command of bench_work, without its last word, the number of runs."""

    name: str
    words: tuple[str, ...]
    # Of one program; the first is not counted: it meets a cold cache.
    runs: int = 4


@dataclass(frozen=True)
class Overcommit:
    """Processes that together grow through a limit until one of them is killed."""

    processes: int
    limit_mib: int
    kills: int


@dataclass(frozen=True)
class Counting:
    """Instructions to be counted on one kernel.

    Those of one setting follow each other on one machine. A kernel's caches are
    as what went before has left them, so those of other kernels have to be in
    the same order.
    """

    baseline: Baseline
    setting: Setting
    work: Work
    programs: int = 5


@dataclass(frozen=True)
class Plan:
    """All that one run of the benchmark does, in this order."""

    countings: tuple[Counting, ...]
    # Wall-clock: every work on every kernel, in turns, with the user's limit far above.
    timed: tuple[Baseline, ...]
    timed_works: tuple[Work, ...]
    rounds: int
    overcommits: Mapping[str, tuple[Overcommit, ...]]
    # Crowds of each kernel.
    crowds: Mapping[str, int]

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """All kernels that it takes, the first to be built first."""
        names = {one.baseline.name for one in self.countings}
        names |= {one.name for one in self.timed}
        names |= self.overcommits.keys() | self.crowds.keys()
        return tuple(one for one in BASELINES.values() if one.name in names)


NONE = Setting("none", "no limit")
OTHERS_10 = Setting("others-10", "10 limits of other users", others=10)
OTHERS_4096 = Setting("others-4096", "4096 limits of other users", others=4096)
OWN = Setting("own", "a limit of its own, far above", own_limit=True)
CROWDED = tuple(
    Setting(f"own-{count}", f"the same, {count} processes", own_limit=True, processes=count)
    for count in (10, 100, 1000)
)
SETTINGS = MappingProxyType(
    {one.name: one for one in (NONE, OTHERS_10, OTHERS_4096, OWN, *CROWDED)}
)

TOUCH = Work("touch", ("touch", "32768"))
# Beside many processes, where a walk over all of them takes its time.
TOUCH_LESS = Work("touch-less", ("touch", "8192"))
TOUCH_LEAST = Work("touch-less", ("touch", "8192"), runs=2)
FORK = Work("fork", ("fork", "300"), runs=9)
STORM = Work("storm", ("storm", "4", "8192"))


def _report(processes: int, mib: int) -> Work:
    """Processes by megabytes; the small ones more often, or the clock's interrupts would tell."""
    runs = 1 + max(2, _RUN_MIB // (processes * mib))
    return Work(f"{processes}x{mib}", ("work", str(processes), str(mib * MIB // PAGE)), runs)


# What all runs of one work are to touch together, at least.
_RUN_MIB = 64
# The 2020 report's.
REPORT_2020 = tuple(
    _report(processes, mib)
    for processes, sizes in ((1, (4, 32, 64, 128)), (4, (1, 4, 16, 64)), (8, (1, 4, 16)))
    for mib in sizes
)

# Processes and limits (MiB) of the over-commit cases.
OVERCOMMITS = tuple((processes, mib) for mib in (64, 128) for processes in (1, 4, 8))
CROWD_PROCESSES, CROWD_MIB, CROWD_LIMIT_MIB = 64, 2, 64
# Above the limit, after which the processes stop growing: some of the alternatives
# would otherwise let them take all of the machine's memory.
MOST_ABOVE_MIB = 320


def _countings() -> tuple[Counting, ...]:
    found = [Counting(STOCK, NONE, work) for work in (TOUCH, FORK, STORM)]
    found += [Counting(STOCK, crowded, TOUCH_LESS) for crowded in CROWDED]
    for setting in (NONE, OTHERS_10, OWN):
        found += [Counting(PATCHED, setting, work) for work in (TOUCH, FORK, STORM)]
    found += [Counting(PATCHED, crowded, TOUCH_LESS) for crowded in CROWDED]
    found += [Counting(PATCHED_4096, setting, TOUCH) for setting in (NONE, OTHERS_10, OTHERS_4096)]
    found += [Counting(SCAN_ALWAYS, OWN, work) for work in (TOUCH, FORK, STORM)]
    few, some, many = CROWDED
    found += [Counting(SCAN_ALWAYS, crowded, TOUCH_LESS, programs=2) for crowded in (few, some)]
    found += [Counting(SCAN_ALWAYS, many, TOUCH_LEAST, programs=1)]
    for other in (TIMER, DAEMON_5, DAEMON_02, MEMCG):
        found += [Counting(other, OWN, work) for work in (TOUCH, FORK, STORM)]
    for other in (STOCK, PATCHED, SCAN_ALWAYS, TIMER, DAEMON_5, DAEMON_02, MEMCG):
        setting = OWN if other.has_limits else NONE
        found += [Counting(other, setting, work) for work in REPORT_2020]
    # One kernel after the other, each in the order from above.
    order = list(BASELINES)
    return tuple(sorted(found, key=lambda one: order.index(one.baseline.name)))


def full() -> Plan:
    """What is measured for docs/benchmarks.md."""
    killing = (PATCHED, SCAN_ALWAYS, TIMER, DAEMON_02, MEMCG)
    thirty = tuple(Overcommit(processes, mib, 30) for processes, mib in OVERCOMMITS)
    # Each of them takes up to 5 s.
    ten = tuple(Overcommit(processes, mib, 10) for processes, mib in OVERCOMMITS)
    return Plan(
        countings=_countings(),
        timed=(STOCK, PATCHED, SCAN_ALWAYS, TIMER, DAEMON_5, DAEMON_02, MEMCG),
        timed_works=(*REPORT_2020, replace(FORK, runs=3), replace(STORM, runs=3)),
        rounds=10,
        overcommits={**{one.name: thirty for one in killing}, DAEMON_5.name: ten},
        crowds={**{one.name: 10 for one in killing}, DAEMON_5.name: 5},
    )


def quick() -> Plan:
    """The main figures, within five minutes, with nothing that a busy machine would change."""
    few, _, many = CROWDED
    works = (TOUCH, FORK, STORM)
    settings = (NONE, OTHERS_10, OWN)
    return Plan(
        countings=(
            *(Counting(STOCK, NONE, work, programs=3) for work in works),
            *(Counting(PATCHED, setting, w, programs=3) for setting in settings for w in works),
            *(Counting(PATCHED, crowded, TOUCH_LESS) for crowded in (few, many)),
            Counting(SCAN_ALWAYS, OWN, TOUCH, programs=2),
        ),
        timed=(),
        timed_works=(),
        rounds=0,
        overcommits={
            PATCHED.name: (Overcommit(4, 64, 20),),
            TIMER.name: (Overcommit(4, 64, 5),),
        },
        crowds={PATCHED.name: 1},
    )
