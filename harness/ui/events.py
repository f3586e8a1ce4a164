# SPDX-License-Identifier: MIT
"""What a run tells while it goes: one class per event, and their form as JSON. Pure.

Bytes, seconds and fields are explained in docs/events.md, which a test holds to
these classes. A field that is added leaves the schema's number as it is; one
that goes, or means something else, raises it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from harness.kernel_output.records import KillRecord

SCHEMA = 1


@dataclass(frozen=True)
class Planned:
    """What a run is to judge: a scenario under a policy, or a log, which has no policy."""

    policy: str
    scenario: str


@dataclass(frozen=True)
class RunBegin:
    """A task begins. What it does not have is empty."""

    command: tuple[str, ...]
    kernel: str = ""
    policy: str = ""
    trigger: str = ""
    planned: tuple[Planned, ...] = ()


@dataclass(frozen=True)
class PhaseBegin:
    """A part of the work begins; `number` tells it from others of its name."""

    number: int
    name: str


@dataclass(frozen=True)
class PhaseEnd:
    """It ended, after so many seconds; `cached`: nothing was to do, `stopped`: by an error."""

    number: int
    name: str
    seconds: float
    cached: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class ScenarioBegin:
    """A scenario begins on a guest; guests are counted from 1."""

    scenario: str
    policy: str
    trigger: str
    guest: int = 1
    title: str = ""


@dataclass(frozen=True)
class ScenarioEnd:
    """It was judged; `outcome` is the name of a verdict.Outcome."""

    scenario: str
    policy: str
    trigger: str
    outcome: str
    passed: bool
    reasons: tuple[str, ...]
    seconds: float
    guest: int = 1


@dataclass(frozen=True)
class Kill:
    """A kill record of a guest's kernel; in JSON the record's fields stand beside the others."""

    record: KillRecord
    scenario: str = ""
    guest: int = 1


@dataclass(frozen=True)
class Usage:
    """What a user of a guest had, and may have, in bytes; None: it has no limit."""

    uid: int
    rss: int
    mm_max: int | None
    guest: int = 1


@dataclass(frozen=True)
class Message:
    """Text for a person; with `result`, what the task was started for."""

    text: str
    result: bool = False


@dataclass(frozen=True)
class Error:
    """What ended the run, as it is told on stderr; `log` is a path, `tail` that file's end."""

    what: str
    hint: str
    status: int
    log: str = ""
    tail: str = ""


@dataclass(frozen=True)
class RunEnd:
    """A task ended; `results` is the path of its folder, empty where it has none."""

    result: str
    status: int
    results: str = ""


Event = (
    RunBegin
    | PhaseBegin
    | PhaseEnd
    | ScenarioBegin
    | ScenarioEnd
    | Kill
    | Usage
    | Message
    | Error
    | RunEnd
)

CLASSES: Mapping[str, type[Event]] = MappingProxyType(
    {
        "run_begin": RunBegin,
        "phase_begin": PhaseBegin,
        "phase_end": PhaseEnd,
        "scenario_begin": ScenarioBegin,
        "scenario_end": ScenarioEnd,
        "kill": Kill,
        "usage": Usage,
        "message": Message,
        "error": Error,
        "run_end": RunEnd,
    }
)
_NAMES = {kind: name for name, kind in CLASSES.items()}


@dataclass(frozen=True)
class Line:
    """An event as it stands in a stream; `at` is in seconds since the epoch."""

    event: Event
    at: float
    schema: int | None = None


def encode(line: Line) -> str:
    """One line of ASCII, without its end."""
    head: dict[str, object] = {} if line.schema is None else {"schema": line.schema}
    head |= {"event": _NAMES[type(line.event)], "at": round(line.at, 3)}
    return json.dumps(head | _plain(line.event), allow_nan=False)


def decode(text: str) -> Line:
    """The line that `text` is. Fields that are not known are left out.

    Raises ValueError where it is no event, or none that is known.
    """
    value = json.loads(text)
    if not isinstance(value, dict) or not isinstance(kind := value.get("event"), str):
        raise ValueError(f"no event: {text[:80]!r}")
    if kind not in CLASSES:
        raise ValueError(f"an event that is not known: {kind!r}")
    try:
        return Line(_event(CLASSES[kind], value), value["at"], value.get("schema"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{kind}: {error}") from error


def _plain(event: object) -> dict[str, object]:
    """An event's fields as JSON knows them."""
    found: dict[str, object] = {}
    for field in fields(event):  # type: ignore[arg-type]
        value = getattr(event, field.name)
        if isinstance(value, KillRecord):
            found |= _plain(value)
        else:
            found[field.name] = _value(value)
    return found


def _value(value: object) -> object:
    if isinstance(value, tuple):
        return [_value(one) for one in value]
    if isinstance(value, Planned):
        return _plain(value)
    if isinstance(value, float):
        return round(value, 6)
    # A path's bytes need not be text; half a surrogate pair is no JSON to most readers.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _event(kind: type[Any], value: Mapping[str, Any]) -> Event:
    if kind is Kill:
        record = KillRecord(**_known(KillRecord, value))
        return Kill(record, **_known(Kill, {**value, "record": record}, but=("record",)))
    found = {
        name: tuple(one) if isinstance(one, list) else one
        for name, one in _known(kind, value).items()
    }
    if kind is RunBegin:
        planned = [Planned(**_known(Planned, one)) for one in found.get("planned", ())]
        found["planned"] = tuple(planned)
    event: Event = kind(**found)
    return event


def _known(kind: type[Any], value: Mapping[str, Any], but: tuple[str, ...] = ()) -> dict[str, Any]:
    names = [field.name for field in fields(kind) if field.name not in but]
    return {name: value[name] for name in names if name in value}
