# SPDX-License-Identifier: MIT
"""The raw values that the benchmark measured, and the file that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from harness.core import typed_json

# The format of bench.json; to be raised when an older file could be misread.
FORMAT = 1
JSON = "bench.json"


@dataclass(frozen=True)
class Count:
    """Instructions per page or process: a value for each program."""

    baseline: str
    setting: str
    work: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """Wall-clock time per page or process, in ns: a value for each round."""

    baseline: str
    work: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Kill:
    """A kill: its overshoot in pages, as seen from outside and (inside) by the kernel's record.

    `latency_us` is the time from the crossing of the limit until the victim was gone.
    """

    outside: int
    inside: int | None
    latency_us: int
    killer: str
    # Whether the victim had stopped growing, at its last page, before the kill.
    capped: bool


@dataclass(frozen=True)
class KillCase:
    """The kills of one over-commit case. `worst_seen` is /proc/mm_limits' overshoot, in pages.

    That overshoot includes the memory of a dying process until it is gone.
    """

    baseline: str
    processes: int
    limit_mib: int
    wanted: int
    kills: tuple[Kill, ...]
    worst_seen: int | None = None


@dataclass(frozen=True)
class Crowd:
    """A crowd above its limit: the time until it was within it again, and the kills it took."""

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
        """Return the count with these names, if it was made."""
        wanted = (baseline, setting, work)
        return next((c for c in self.counts if (c.baseline, c.setting, c.work) == wanted), None)

    def timing(self, baseline: str, work: str) -> Timing | None:
        """Return the timing with these names, if it was made."""
        return next((t for t in self.timings if (t.baseline, t.work) == (baseline, work)), None)

    def cases_of(self, baseline: str) -> tuple[KillCase, ...]:
        """Return the over-commit cases of one kernel that have kills."""
        return tuple(c for c in self.kill_cases if c.baseline == baseline and c.kills)


@dataclass(frozen=True)
class BenchResult:
    """A run: its time, its command, its machine and kernels, and the values measured."""

    when: str
    command: str
    quick: bool
    finished: bool = False
    # The host, the guest and the tools, by name.
    machine: Mapping[str, str] = field(default_factory=dict)
    # Baseline to its kernel's release.
    kernels: Mapping[str, str] = field(default_factory=dict)
    measured: Measured = Measured()


def to_json(result: BenchResult, **more: object) -> str:
    """Return the text of bench.json; `more` is for human readers, and is not read back."""
    told = {"format": FORMAT, **msgspec.to_builtins(result), **more}
    return typed_json.to_text(told, indent=1)


def from_json(text: str) -> BenchResult:
    """Return the run in a bench.json; raise ValueError if the text is none."""
    value = typed_json.parse(text, JSON)
    found = typed_json.from_value(_Head, value, JSON)
    if found.format != FORMAT:
        raise ValueError(f"{JSON} has format {found.format}, not {FORMAT}")
    return typed_json.from_value(BenchResult, value, JSON)


@dataclass(frozen=True)
class _Head:
    """The field that every version of the file has."""

    format: int


def to_csv(measured: Measured) -> str:
    """Return a line for each raw value: what, baseline, setting, work, number, value, unit."""
    lines = ["what,baseline,setting,work,number,value,unit"]
    for c in measured.counts:
        place = f"count,{c.baseline},{c.setting},{c.work}"
        lines += [f"{place},{n},{value:.3f},instructions" for n, value in enumerate(c.values)]
    for t in measured.timings:
        place = f"timing,{t.baseline},own,{t.work}"
        lines += [f"{place},{n},{value:.1f},ns" for n, value in enumerate(t.values)]
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
