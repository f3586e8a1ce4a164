# SPDX-License-Identifier: MIT
"""Events as JSON: what goes in comes out, and docs/events.md is about these very fields."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from example_events import EVENTS, RECORD
from hypothesis import given
from hypothesis import strategies as st
from schema_words import types_of

from harness.core.paths import REPO
from harness.kernel_output.records import KillRecord
from harness.ui.events import (
    CLASSES,
    SCHEMA,
    Event,
    Kill,
    Line,
    Message,
    RunEnd,
    decode,
    encode,
)


def test_every_class_is_tried() -> None:
    assert {type(event) for event in EVENTS} == set(CLASSES.values())


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_round_trip(event: Event) -> None:
    text = encode(Line(event, 1700000000.125))
    assert text.isascii()
    assert "\n" not in text
    assert decode(text) == Line(event, 1700000000.125)


@given(text=st.text(), result=st.booleans(), at=st.floats(0, 2**33).map(lambda x: round(x, 3)))
def test_any_text_comes_back(text: str, result: bool, at: float) -> None:
    assert decode(encode(Line(Message(text, result), at))) == Line(Message(text, result), at)


def test_bytes_that_are_no_text_are_still_json() -> None:
    event = RunEnd("", 3, b"/tmp/\xff".decode("utf-8", "surrogateescape"))
    assert json.loads(encode(Line(event, 0)))["results"] == "/tmp/\\udcff"


def test_the_schema_is_a_field_in_front() -> None:
    text = encode(Line(Message("x"), 0, SCHEMA))
    assert text.startswith('{"schema": 1, "event": "message", "at": 0')
    assert decode(text).schema == SCHEMA


def test_a_kill_is_flat() -> None:
    value = json.loads(encode(Line(Kill(RECORD, "report"), 0)))
    assert (value["pid"], value["comm"], value["guest"]) == (88, "a\x1b\x00\xff\n", 1)


def test_fields_that_come_later_are_skipped() -> None:
    value = json.loads(encode(Line(Kill(RECORD), 1.0))) | {"new": 1}
    assert decode(json.dumps(value)) == Line(Kill(RECORD), 1.0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "1", "[]", "{}", '{"event": 1}', '{"event": "none", "at": 1}'),
        *('{"event": "message", "text": "no time"}', '{"event": "usage", "at": 1, "uid": 1}'),
        *('{"event": "kill", "at": 1}', '{"event": "run_begin", "at": 1, "planned": 3}'),
    ],
)
def test_what_is_no_event(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(text)


# --- docs/events.md -------------------------------------------------------------------

ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def documented() -> dict[str, list[tuple[str, str, str]]]:
    """The fields by event, each with its type and unit; those of all under ""."""
    text = (REPO / "docs/events.md").read_text()
    common, *parts = re.split(r"^### `(\w+)`$", text, flags=re.MULTILINE)
    tables = {"": common, **dict(zip(parts[::2], parts[1::2], strict=True))}
    return {
        name: [(row[1], row[2], row[3]) for row in ROW.finditer(table)]
        for name, table in tables.items()
    }


def declared(kind: type[Any]) -> list[tuple[str, str]]:
    """A class's fields with their types, in the order of the JSON object."""
    found = types_of(kind)
    record = types_of(KillRecord) if found.pop("record", "") else {}
    return [*record.items(), *found.items()]


def test_the_page_names_every_event() -> None:
    assert list(documented()) == ["", *CLASSES]
    assert [name for name, _, _ in documented()[""]] == ["schema", "event", "at"]


@pytest.mark.parametrize("name", CLASSES)
def test_the_page_has_the_fields_and_types(name: str) -> None:
    rows = documented()[name]
    assert [(field, kind) for field, kind, _ in rows] == declared(CLASSES[name])
    example = next(one for one in EVENTS if isinstance(one, CLASSES[name]))
    assert list(json.loads(encode(Line(example, 0))))[2:] == [field for field, _, _ in rows]


def test_sizes_and_times_have_units() -> None:
    rows = [row for table in documented().values() for row in table]
    bare = {field for field, kind, unit in rows if kind.startswith("number") and unit == "-"}
    assert not bare
    sizes = {"rss", "user_rss", "mm_max"}
    assert {unit for field, _, unit in rows if field in sizes} == {"bytes"}


def test_the_page_says_the_schema() -> None:
    assert f"| `schema` | integer | - | {SCHEMA}: " in (REPO / "docs/events.md").read_text()
