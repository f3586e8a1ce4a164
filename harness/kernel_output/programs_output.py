# SPDX-License-Identifier: MIT
"""The output of the programs on the device, as typed results.

Each line is written with one write(2), so lines of several processes never mix. A line that
begins like one of ours but is malformed (adb truncated it) is kept in `strange`, so that a judge
can refuse the output. Sizes are in bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Allocation:
    """A child process that began, finished or failed to allocate."""

    pid: int
    uid: int
    mem: int


@dataclass(frozen=True)
class ChildEnd:
    """The end of a child; `status` is as waitpid() returns it."""

    index: int
    pid: int
    mem: int
    outcome: str
    status: int


@dataclass(frozen=True)
class LimitSet:
    """One call of set_mm_limits(); `ret` is -1, with an `errno`, if it failed."""

    uid: int
    mm_max: int
    ret: int
    errno: int


@dataclass(frozen=True)
class Holding:
    """The state in which all children have finished or died; `alive` of them hold their memory."""

    marker: str
    alive: int


@dataclass(frozen=True)
class Usage:
    """What a user's processes used together, in bytes; `time` is in seconds since boot."""

    time: float
    uid: int
    rss: int


@dataclass(frozen=True)
class Done:
    """The last line of a program that ran to its end."""

    program: str
    marker: str
    passed: int
    total: int


@dataclass(frozen=True)
class ProgramOutput:
    """A program's whole output. Fields that the output lacks are None or empty.

    `done` is None unless the output has exactly one such line, and that is its last line.
    """

    limit_uid: int | None = None
    uid: int | None = None
    pid: int | None = None
    limits: tuple[LimitSet, ...] = ()
    started: tuple[Allocation, ...] = ()
    finished: tuple[Allocation, ...] = ()
    failed: tuple[Allocation, ...] = ()
    holding: Holding | None = None
    children: tuple[ChildEnd, ...] = ()
    done: Done | None = None
    strange: tuple[str, ...] = ()


_NATURAL = r"(\d{1,20})"
_INTEGER = r"(-?\d{1,20})"
_WORD = r"([^\s,]+)"
_ALLOCATION = rf"pid={_NATURAL}, uid={_NATURAL}, mem={_NATURAL}"

_LIMIT_UID = re.compile(rf"pw->uid={_NATURAL}")
_UID = re.compile(rf"@@@@uid: {_NATURAL}")
_PID = re.compile(rf"@@@@pid: {_NATURAL}")
_LIMIT = re.compile(
    rf"set_mm_limits: uid={_NATURAL}, mm_max={_NATURAL}, ret={_INTEGER}, errno={_NATURAL}"
)
_STARTED = re.compile(rf"child process start malloc: {_ALLOCATION}")
_FINISHED = re.compile(rf"child process finish malloc: {_ALLOCATION}")
_FAILED = re.compile(rf"child process failed malloc: {_ALLOCATION}, errno={_NATURAL}")
_HOLDING = re.compile(rf"holding: marker={_WORD}, alive={_NATURAL}")
_END = re.compile(
    rf"child end: index={_NATURAL}, pid={_NATURAL}, mem={_NATURAL}, outcome={_WORD},"
    rf" status={_INTEGER}"
)
_DONE = re.compile(rf"done: program={_WORD}, marker={_WORD}, checks={_NATURAL}/{_NATURAL}")
_USAGE = re.compile(
    r"^usage: time=(?P<time>[0-9]{1,9}\.[0-9]{6}), uid=(?P<uid>[0-9]{1,10}),"
    r" rss=(?P<rss>[0-9]{1,20})$",
    re.MULTILINE,
)
_ALL = (_LIMIT_UID, _UID, _PID, _LIMIT, _STARTED, _FINISHED, _FAILED, _HOLDING, _END, _DONE)
# A line that begins like this has to have one of the forms above.
_OURS = re.compile(r"pw->|@@@@|set_mm_limits: |child |holding: |done: ")


def holding_prefix(marker: str) -> str:
    """Return the beginning of the line in which the program `marker` says that it holds."""
    return f"holding: marker={marker}, alive="


def parse_output(text: str) -> ProgramOutput:
    """Return a program's output in typed form. Never raises."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    done = _all(_DONE, lines)
    last = bool(lines) and _DONE.fullmatch(lines[-1]) is not None
    holding = _all(_HOLDING, lines)
    return ProgramOutput(
        limit_uid=_one(_LIMIT_UID, lines),
        uid=_one(_UID, lines),
        pid=_one(_PID, lines),
        limits=tuple(LimitSet(*map(int, found)) for found in _all(_LIMIT, lines)),
        started=_allocations(_STARTED, lines),
        finished=_allocations(_FINISHED, lines),
        failed=_allocations(_FAILED, lines),
        holding=Holding(holding[0][0], int(holding[0][1])) if len(holding) == 1 else None,
        children=tuple(
            ChildEnd(int(index), int(pid), int(mem), outcome, int(status))
            for index, pid, mem, outcome, status in _all(_END, lines)
        ),
        done=_done(done[0]) if last and len(done) == 1 else None,
        strange=tuple(
            line
            for line in lines
            if _OURS.match(line) and not any(form.fullmatch(line) for form in _ALL)
        ),
    )


def _all(form: re.Pattern[str], lines: list[str]) -> list[tuple[str, ...]]:
    """Return the fields of every line that has this form."""
    return [match.groups() for match in map(form.fullmatch, lines) if match]


def _one(form: re.Pattern[str], lines: list[str]) -> int | None:
    """Return the number in the only line that has this form; None if there is not exactly one."""
    found = _all(form, lines)
    return int(found[0][0]) if len(found) == 1 else None


def _allocations(form: re.Pattern[str], lines: list[str]) -> tuple[Allocation, ...]:
    return tuple(Allocation(*map(int, found[:3])) for found in _all(form, lines))


def _done(found: tuple[str, ...]) -> Done:
    program, marker, passed, total = found
    return Done(program, marker, int(passed), int(total))


def parse_usage(text: str) -> tuple[Usage, ...]:
    """Return the samples that watch_memory printed; malformed lines are left out."""
    return tuple(
        Usage(float(found["time"]), int(found["uid"]), int(found["rss"]))
        for found in _USAGE.finditer(text)
    )
