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

    The times are from the crossing of the limit: `free_us` until memory was free again,
    `all_free_us` until nearly all of the victim's was, `latency_us` until the victim was gone.
    Those of free memory are None if nobody saw it come back, or an older benchmark measured.
    """

    outside: int
    inside: int | None
    latency_us: int
    killer: str
    # Whether the victim had stopped growing, at its last page, before the kill.
    capped: bool
    free_us: int | None = None
    all_free_us: int | None = None


@dataclass(frozen=True)
class KillCase:
    """The kills of one over-commit case. `worst_seen` is /proc/mm_limits' overshoot, in pages.

    That overshoot includes the memory of a dying process until it is gone. `counted` says that
    the machine's clock counted instructions, so the times say nothing about the host.
    """

    baseline: str
    processes: int
    limit_mib: int
    wanted: int
    kills: tuple[Kill, ...]
    worst_seen: int | None = None
    counted: bool = False


@dataclass(frozen=True)
class Crowd:
    """A crowd above its limit: the time until it was within it again, and the kills it took."""

    baseline: str
    us: int
    kills: int
    within: bool


@dataclass(frozen=True)
class Massacre:
    """Many processes of a user that were killed, and bystanders' worst page faults meanwhile.

    The ordinary bystander waits for the CPU, too; the other has a real-time priority.
    """

    baseline: str
    killed: int
    # Those of the bystander with the real-time priority.
    faults: int
    worst_us: int
    ordinary_us: int


@dataclass(frozen=True)
class PipeReads:
    """Non-blocking reads of a pipe to which a user that exceeds its limit writes."""

    baseline: str
    killer: str
    reads: int
    worst_us: int


@dataclass(frozen=True)
class Looks:
    """How often a user near its limit was looked at while it did `forks` forks and exits."""

    baseline: str
    looks: int
    forks: int


@dataclass(frozen=True)
class Measured:
    """All values of one run."""

    counts: tuple[Count, ...] = ()
    timings: tuple[Timing, ...] = ()
    kill_cases: tuple[KillCase, ...] = ()
    crowds: tuple[Crowd, ...] = ()
    massacres: tuple[Massacre, ...] = ()
    pipes: tuple[PipeReads, ...] = ()
    looks: tuple[Looks, ...] = ()

    def count(self, baseline: str, setting: str, work: str) -> Count | None:
        """Return the count with these names, if it was made."""
        wanted = (baseline, setting, work)
        return next((c for c in self.counts if (c.baseline, c.setting, c.work) == wanted), None)

    def timing(self, baseline: str, work: str) -> Timing | None:
        """Return the timing with these names, if it was made."""
        return next((t for t in self.timings if (t.baseline, t.work) == (baseline, work)), None)

    def cases_of(self, baseline: str) -> tuple[KillCase, ...]:
        """Return the over-commit cases of one kernel, on the board's machine, that have kills."""
        cases = (c for c in self.kill_cases if c.baseline == baseline and c.kills)
        return tuple(c for c in cases if not c.counted)

    def counted_of(self, baseline: str) -> tuple[KillCase, ...]:
        """Return those on the machine whose clock counts instructions."""
        cases = (c for c in self.kill_cases if c.baseline == baseline and c.kills)
        return tuple(c for c in cases if c.counted)


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
        work = f"{case.processes}x{case.limit_mib}{' counted' if case.counted else ''}"
        for number, kill in enumerate(case.kills):
            for what, size, unit in (
                ("over outside", kill.outside, "pages"),
                ("over inside", kill.inside, "pages"),
                ("memory free", kill.free_us, "us"),
                ("all memory free", kill.all_free_us, "us"),
                ("latency", kill.latency_us, "us"),
            ):
                if size is not None:
                    lines.append(f"{what},{case.baseline},limit,{work},{number},{size},{unit}")
    return "\n".join([*lines, *_others_csv(measured)]) + "\n"


def _others_csv(measured: Measured) -> list[str]:
    """Return the lines of what is not one of many kills."""
    lines = []
    for number, crowd in enumerate(measured.crowds):
        lines.append(f"crowd,{crowd.baseline},limit,crowd,{number},{crowd.us},us")
        lines.append(f"crowd,{crowd.baseline},limit,crowd,{number},{crowd.kills},kills")
    for number, one in enumerate(measured.massacres):
        place = f"{one.baseline},limit,{one.killed} killed,{number}"
        lines.append(f"bystander's worst fault,{place},{one.worst_us},us")
        lines.append(f"ordinary bystander's worst fault,{place},{one.ordinary_us},us")
    for number, reads in enumerate(measured.pipes):
        lines.append(f"worst read,{reads.baseline},limit,pipe,{number},{reads.worst_us},us")
    for number, looks in enumerate(measured.looks):
        place = f"{looks.baseline},limit,{looks.forks} forks,{number}"
        lines.append(f"looks,{place},{looks.looks},looks")
    return lines
