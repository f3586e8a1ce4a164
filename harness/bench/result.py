# SPDX-License-Identifier: MIT
"""What the benchmark has measured, raw, and the file that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Of bench.json; to be raised where an older file could be misread.
FORMAT = 1


@dataclass(frozen=True)
class Count:
    """Instructions for a page or a process: a value for each program."""

    baseline: str
    setting: str
    work: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """Wall-clock for a page or a process, in ns: a value for each round."""

    baseline: str
    work: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Kill:
    """How far above the limit, in pages: as seen from outside, and by the kernel's record."""

    outside: int
    inside: int | None
    latency_us: int
    killer: str
    # Whether the processes had stopped to grow before it came.
    capped: bool


@dataclass(frozen=True)
class KillCase:
    """The kills of one over-commit case. `worst_seen` is /proc/mm_limits' overshoot, in pages.

    That one counts what is dying until it is gone.
    """

    baseline: str
    processes: int
    limit_mib: int
    wanted: int
    kills: tuple[Kill, ...]
    worst_seen: int | None = None

    @property
    def title(self) -> str:
        """As in the tables."""
        return f"{self.processes} at {self.limit_mib} MB"


@dataclass(frozen=True)
class Crowd:
    """A crowd over its limit: how long until it was within it again, and who died for it."""

    baseline: str
    us: int
    kills: int
    within: bool


@dataclass(frozen=True)
class Measured:
    """All values of one run."""

    counts: tuple[Count, ...] = ()
    timings: tuple[Timing, ...] = ()
    kill_cases: tuple[KillCase, ...] = ()
    crowds: tuple[Crowd, ...] = ()

    def count(self, baseline: str, setting: str, work: str) -> Count | None:
        """The count of that name, if it was made."""
        wanted = (baseline, setting, work)
        return next((c for c in self.counts if (c.baseline, c.setting, c.work) == wanted), None)

    def timing(self, baseline: str, work: str) -> Timing | None:
        """The timing of that name, if it was made."""
        return next((t for t in self.timings if (t.baseline, t.work) == (baseline, work)), None)

    def cases_of(self, baseline: str) -> tuple[KillCase, ...]:
        """The over-commit cases of one kernel in which somebody was killed."""
        return tuple(c for c in self.kill_cases if c.baseline == baseline and c.kills)


@dataclass(frozen=True)
class BenchResult:
    """A run: where and when, of what, and what was measured."""

    when: str
    command: str
    quick: bool
    finished: bool = False
    # What it ran on and with, by name.
    machine: Mapping[str, str] = field(default_factory=dict)
    # Baseline to the release of its kernel.
    kernels: Mapping[str, str] = field(default_factory=dict)
    measured: Measured = Measured()


def to_json(result: BenchResult, **more: object) -> str:
    """The text of bench.json; `more` is for people and not read again."""
    return json.dumps({"format": FORMAT, **asdict(result), **more}, indent=1) + "\n"


def from_json(text: str) -> BenchResult:
    """The run in a bench.json; ValueError if it is none."""
    try:
        loaded = json.loads(text)
        if loaded["format"] != FORMAT:
            raise ValueError(f"bench.json has format {loaded['format']}, not {FORMAT}")
        measured = loaded["measured"]
        return BenchResult(
            when=loaded["when"],
            command=loaded["command"],
            quick=loaded["quick"],
            finished=loaded["finished"],
            machine=loaded["machine"],
            kernels=loaded["kernels"],
            measured=Measured(
                counts=tuple(Count(**_tupled(c)) for c in measured["counts"]),
                timings=tuple(Timing(**_tupled(t)) for t in measured["timings"]),
                kill_cases=tuple(_case(c) for c in measured["kill_cases"]),
                crowds=tuple(Crowd(**c) for c in measured["crowds"]),
            ),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a bench.json: {error!r}") from error


def to_csv(measured: Measured) -> str:
    """A line for each raw value: what, baseline, setting, work, number, value, unit."""
    lines = ["what,baseline,setting,work,number,value,unit"]
    for c in measured.counts:
        for number, value in enumerate(c.values):
            lines.append(
                f"count,{c.baseline},{c.setting},{c.work},{number},{value:.3f},instructions"
            )
    for t in measured.timings:
        for number, value in enumerate(t.values):
            lines.append(f"timing,{t.baseline},own,{t.work},{number},{value:.1f},ns")
    for case in measured.kill_cases:
        work = f"{case.processes}x{case.limit_mib}"
        for number, kill in enumerate(case.kills):
            for what, size, unit in (
                ("over outside", kill.outside, "pages"),
                ("over inside", kill.inside, "pages"),
                ("latency", kill.latency_us, "us"),
            ):
                if size is not None:
                    lines.append(f"{what},{case.baseline},limit,{work},{number},{size},{unit}")
    for number, crowd in enumerate(measured.crowds):
        lines.append(f"crowd,{crowd.baseline},limit,crowd,{number},{crowd.us},us")
        lines.append(f"crowd,{crowd.baseline},limit,crowd,{number},{crowd.kills},kills")
    return "\n".join(lines) + "\n"


def _tupled(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "values": tuple(fields["values"])}


def _case(fields: dict[str, Any]) -> KillCase:
    return KillCase(**{**fields, "kills": tuple(Kill(**kill) for kill in fields["kills"])})
