# SPDX-License-Identifier: MIT
"""Events of a run, one class per event, and their form as JSON. Pure.

docs/events.md explains bytes, seconds and fields; a test keeps it in step with these classes. A
new field leaves the schema's number as it is; removing a field, or changing its meaning, raises
the number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from harness.core import typed_json
from harness.kernel_output.records import KillRecord

SCHEMA = 1


class Event:
    """Anything that happens in a run. Its name in JSON is its class's, as in "run_begin"."""


@dataclass(frozen=True)
class Planned:
    """A thing that a run is to judge: a scenario under a policy, or a log, which has no policy."""

    policy: str
    scenario: str


@dataclass(frozen=True)
class RunBegin(Event):
    """The beginning of a task. Fields that do not apply are empty."""

    command: tuple[str, ...]
    kernel: str = ""
    policy: str = ""
    trigger: str = ""
    planned: tuple[Planned, ...] = ()


@dataclass(frozen=True)
class PhaseBegin(Event):
    """The beginning of a part of the work; `number` tells phases of the same name apart."""

    number: int
    name: str


@dataclass(frozen=True)
class PhaseEnd(Event):
    """The end of a phase; `cached`: there was nothing to do, `stopped`: by an error."""

    number: int
    name: str
    seconds: float
    cached: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class ScenarioBegin(Event):
    """The beginning of a scenario on a guest; guests are counted from 1."""

    scenario: str
    policy: str
    trigger: str
    guest: int = 1
    title: str = ""


@dataclass(frozen=True)
class ScenarioEnd(Event):
    """The judgement of a scenario; `outcome` is the name of a verdict.Outcome."""

    scenario: str
    policy: str
    trigger: str
    outcome: str
    passed: bool
    reasons: tuple[str, ...]
    seconds: float
    guest: int = 1


@dataclass(frozen=True)
class Kill(Event):
    """A kill record of a guest's kernel; in JSON its fields stand beside the event's others."""

    record: KillRecord
    scenario: str = ""
    guest: int = 1


@dataclass(frozen=True)
class Usage(Event):
    """A user's memory on a guest, and its limit, in bytes; `mm_max` is None without a limit."""

    uid: int
    rss: int
    mm_max: int | None
    guest: int = 1


@dataclass(frozen=True)
class CellBegin(Event):
    """The beginning of a cell of a sweep on a worker; `command` does the same by hand."""

    cell: str
    worker: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class CellEnd(Event):
    """The end of a cell; `verdict` is the name of a Status, `status` the command's, if it came."""

    cell: str
    worker: str
    verdict: str
    status: int | None
    line: str
    seconds: float
    results: str = ""


@dataclass(frozen=True)
class Message(Event):
    """Text for a person; `result` marks the result that the task was started for."""

    text: str
    result: bool = False


@dataclass(frozen=True)
class Error(Event):
    """What ended the run, as shown on stderr; `log` is a path, `tail` the end of that file."""

    what: str
    hint: str
    status: int
    log: str = ""
    tail: str = ""


@dataclass(frozen=True)
class RunEnd(Event):
    """The end of a task; `results` is the path of its results folder, empty if it has none."""

    result: str
    status: int
    results: str = ""


def _name(kind: type[Event]) -> str:
    return re.sub(r"\B(?=[A-Z])", "_", kind.__name__).lower()


CLASSES: Mapping[str, type[Event]] = MappingProxyType(
    {_name(kind): kind for kind in Event.__subclasses__()}
)


@dataclass(frozen=True)
class Line:
    """An event as it stands in a stream; `at` is in seconds since the epoch."""

    event: Event
    at: float
    schema: int | None = None


def encode(line: Line) -> str:
    """Return one line of ASCII, without its line end."""
    head: dict[str, object] = {} if line.schema is None else {"schema": line.schema}
    head |= {"event": _name(type(line.event)), "at": round(line.at, 3)}
    told = msgspec.to_builtins(line.event)
    told = {**told.pop("record", {}), **told}
    rounded = {name: round(one, 6) if isinstance(one, float) else one for name, one in told.items()}
    return typed_json.to_text(head | rounded, indent=None)


def decode(text: str) -> Line:
    """Return the line that `text` holds. Unknown fields are left out.

    Raises ValueError if it is no event, or an unknown one.
    """
    value = typed_json.read(dict[str, object], text, "no event")
    head = typed_json.from_value(_Head, value, "no event")
    if head.event not in CLASSES:
        raise ValueError(f"an event that is not known: {head.event!r}")
    event = typed_json.from_value(CLASSES[head.event], {**value, "record": value}, head.event)
    return Line(event, head.at, head.schema)


@dataclass(frozen=True)
class _Head:
    """The fields that all events have."""

    event: str
    at: float
    schema: int | None = None
