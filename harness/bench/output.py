# SPDX-License-Identifier: MIT
"""What bench_work prints, as typed results; see ndk_tests/bench_work."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.bench.result import Kill, Massacre, PipeReads

PROGRAM = "bench_work"

_TIME = re.compile(r"time: what=(\w+), run=(\d+), units=(\d+), ns=(\d+)")
_KILL = re.compile(
    r"kill: run=\d+, victim=\d+, pid=(\d+), killer=(\w+), base=\d+, over=(-?\d+), "
    r"crossed_us=(\d+), killed_us=(\d+), free_us=(\d+), all_free_us=(\d+), gone_us=(\d+), "
    r"all=([01])"
)
_CROWD = re.compile(
    r"crowd: run=\d+, processes=\d+, kills=(\d+), within=([01]), us=(\d+), left=-?\d+"
)
_BYSTANDER = re.compile(
    r"bystander: run=\d+, killed=(\d+), faults=(\d+), worst_us=(\d+), "
    r"ordinary_faults=\d+, ordinary_worst_us=(\d+), us=\d+"
)
_PIPE = re.compile(
    r"pipe: run=\d+, victim=\d+, killer=(\w+), reads=(\d+), bytes=\d+, worst_us=(\d+)"
)
_IDLE = re.compile(r"idle: pid=(\d+), processes=(\d+)")
_DONE = re.compile(rf"done: program={PROGRAM}, marker=(\S+), checks=\d+/\d+")


@dataclass(frozen=True)
class Time:
    """One run: the units of work, and the time that all of them took, in ns."""

    what: str
    units: int
    ns: int

    @property
    def per_unit(self) -> float:
        """Nanoseconds per page or process."""
        return self.ns / self.units


@dataclass(frozen=True)
class CrowdRun:
    """The time until a crowd was within its limit again, and how many processes were killed."""

    kills: int
    within: bool
    us: int


@dataclass(frozen=True)
class BenchOutput:
    """All that one program printed, or several programs one after the other."""

    times: tuple[Time, ...] = ()
    # Each victim's pid, and its kill as seen from outside.
    kills: tuple[tuple[int, Kill], ...] = ()
    crowds: tuple[CrowdRun, ...] = ()
    # Those of the baseline "", whose name the program does not know.
    massacres: tuple[Massacre, ...] = ()
    pipes: tuple[PipeReads, ...] = ()
    # The markers of the programs that ran to their end.
    done: tuple[str, ...] = ()


def parse_bench(text: str) -> BenchOutput:
    """Return the typed form of the output. Never raises."""
    lines = [line.strip() for line in text.splitlines()]
    return BenchOutput(
        times=tuple(Time(m[1], int(m[3]), int(m[4])) for m in _all(_TIME, lines)),
        kills=tuple((int(m[1]), _kill(m)) for m in _all(_KILL, lines)),
        crowds=tuple(CrowdRun(int(m[1]), m[2] == "1", int(m[3])) for m in _all(_CROWD, lines)),
        massacres=tuple(
            Massacre("", int(m[1]), int(m[2]), int(m[3]), int(m[4]))
            for m in _all(_BYSTANDER, lines)
        ),
        pipes=tuple(PipeReads("", m[1], int(m[2]), int(m[3])) for m in _all(_PIPE, lines)),
        done=tuple(m[1] for m in _all(_DONE, lines)),
    )


def idle_pid(line: str) -> int | None:
    """Return the pid of the parent of the idle processes, from its line; None otherwise."""
    match = _IDLE.fullmatch(line.strip())
    return int(match[1]) if match else None


def _kill(match: re.Match[str]) -> Kill:
    crossed, killed, free, all_free, gone = (int(match[number]) for number in range(4, 9))
    # A kernel may kill before the page is there that would have crossed the limit.
    begin = min(crossed, killed)
    return Kill(
        int(match[3]),
        None,
        gone - begin,
        killer=match[2],
        capped=match[9] == "1",
        free_us=free - begin if free else None,
        all_free_us=all_free - begin if all_free else None,
    )


def _all(expression: re.Pattern[str], lines: list[str]) -> list[re.Match[str]]:
    return [match for line in lines if (match := expression.fullmatch(line))]
