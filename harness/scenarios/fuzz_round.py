# SPDX-License-Identifier: MIT
"""One round of the fuzz test: parses the output of the device's program, and judges it.

The invariants: no process of a user without a limit dies, no protected process dies, every
death has a kill record, no user stays above its limit, every process ends when it is told to,
and the kernel log is clean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.kernel_output.klog import Allowed, Section
from harness.kernel_output.records import parse_log
from harness.scenarios.verdict import troubles_of

PROGRAM = "mm_limits_fuzz"
# The largest seed of a round; they count from 0.
MOST_SEED = 2**32 - 1
# As in ndk_tests/mm_limits_fuzz/jni/fuzz.h: the users whose processes may die.
LIMITED = range(10070, 10073)
_OOM_SCORE_ADJ_MIN = -1000

# Fault injection fails an allocation of a page fault; the kernel retries the fault.
_FAILED = Allowed(
    r"Huh VM_FAULT_OOM leaked out to the #PF handler\. Retrying PF"
    r"|pagefault_out_of_memory: \d+ callbacks suppressed",
    "injected",
)

_DEATH = re.compile(r"death: pid=(\d+), uid=(\d+), adj=(-?\d+)")
_COUNTS = re.compile(r"counts: (.*)")
_ENDS = re.compile(r"ends: (.*)")
_FIELD = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True)
class Death:
    """A process that was ended by SIGKILL, with its last uid and oom_score_adj."""

    pid: int
    uid: int
    adj: int


@dataclass(frozen=True)
class RoundOutput:
    """The program's parsed output. `ends` is empty unless the program ran to its end."""

    deaths: tuple[Death, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)
    done: bool = False


@dataclass(frozen=True)
class Problem:
    """An invariant that is broken; see Finding on `by_clock`."""

    text: str
    by_clock: bool = False


def parse_round(text: str, marker: str) -> RoundOutput:
    """Parse the program's output. Never raises."""
    lines = [line.strip() for line in text.splitlines()]
    last = f"done: program={PROGRAM}, marker={marker}, checks="
    return RoundOutput(
        deaths=tuple(Death(*map(int, match.groups())) for match in _all(_DEATH, lines)),
        counts=_fields(_COUNTS, lines),
        ends=_fields(_ENDS, lines),
        done=bool(lines) and lines[-1].startswith(last),
    )


def judge_round(output: RoundOutput, section: Section) -> Iterator[Problem]:
    """Yield the problems of this round; none if it passed."""
    if not section.whole:
        yield Problem("the kernel log of the round is not whole")
    for trouble, by_clock in troubles_of(section.text, (_FAILED,)):
        yield Problem(f"{trouble.kind}: {trouble.line.strip()}", by_clock)
    parsed = parse_log(section.text)
    for line in parsed.torn:
        yield Problem(f"a torn record: {line.strip()}")
    recorded = {record.pid for record in parsed.records}
    for death in output.deaths:
        if death.adj == _OOM_SCORE_ADJ_MIN:
            yield Problem(f"pid {death.pid} died, which was protected")
        elif death.uid not in LIMITED:
            yield Problem(f"pid {death.pid} died, of uid {death.uid}, which has no limit")
        if death.pid not in recorded:
            yield Problem(f"pid {death.pid} (uid {death.uid}) was killed without a record")
    if not output.done:
        yield Problem("the program did not come to its end", by_clock=True)
    yield from _ends(output.ends)


def _ends(ends: Mapping[str, int]) -> Iterator[Problem]:
    if ends.get("settled") == 0:
        yield Problem("a user stayed above its limit", by_clock=True)
    if ends.get("ended") == 0:
        yield Problem("a process did not end when it was told to", by_clock=True)
    if ends.get("protected") == 0:
        yield Problem("the protected process is gone")
    if ends.get("mistakes"):
        yield Problem(f"{ends['mistakes']} thing(s) that must work did not")


def _all(expression: re.Pattern[str], lines: list[str]) -> list[re.Match[str]]:
    return [match for line in lines if (match := expression.fullmatch(line))]


def _fields(expression: re.Pattern[str], lines: list[str]) -> dict[str, int]:
    matches = _all(expression, lines)
    text = matches[-1][1] if matches else ""
    return {name: int(value) for name, value in _FIELD.findall(text)}
