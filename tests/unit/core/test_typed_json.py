# SPDX-License-Identifier: MIT
"""JSON that has another form than was asked for is refused, and it is said where."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import typed_json


@dataclass(frozen=True)
class Inner:
    number: int
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    many: tuple[Inner, ...] = ()
    words: tuple[str, ...] = ()
    maybe: Inner | None = None


WHOLE = Outer("a", Inner(1, True), (Inner(2), Inner(3)), ("x", ""), Inner(4))


@pytest.mark.parametrize("value", [WHOLE, Outer("ü", Inner(0))])
def test_what_was_written_is_read(value: Outer) -> None:
    text = typed_json.to_text(value)
    assert typed_json.from_value(Outer, typed_json.parse(text)) == value


def test_defaults_stand_for_what_is_missing() -> None:
    assert typed_json.from_value(Outer, {"name": "a", "inner": {"number": 1}}) == Outer(
        "a", Inner(1)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name is not str"),
        ({"name": None}, "name is not str"),
        ({"name": "a\nb"}, "name is not printable"),
        ({"name": "\ud800"}, "name is not printable"),
        ({"inner": []}, "inner is not an object"),
        ({"inner": {}}, r"inner\.number is missing"),
        ({"inner": {"number": True}}, r"inner\.number is not int"),
        ({"inner": {"number": 1.0}}, r"inner\.number is not int"),
        ({"inner": {"number": -1}}, r"inner\.number is not a number of a sensible size"),
        ({"inner": {"number": 2**63}}, r"inner\.number is not a number of a sensible size"),
        ({"inner": {"number": 1, "flag": 1}}, r"inner\.flag is not bool"),
        ({"many": {}}, "many is not a list"),
        ({"many": [{"number": 1}, 2]}, r"many\[1\] is not an object"),
        ({"words": ["a", 2]}, r"words\[1\] is not str"),
        ({"maybe": 1}, "maybe is not an object"),
        ({"nonsense\n": 1}, r"it has an unknown field: 'nonsense\\n'"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], message: str) -> None:
    value = {"name": "a", "inner": {"number": 1}, **change}
    with pytest.raises(ValueError, match=message):
        typed_json.from_value(Outer, value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff\xfe\x00", '{"a": ' + "9" * 5000])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        typed_json.parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("name", "inner", "many", "words", "maybe", "number", "x")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_anything_else_is_a_value_error(value: object) -> None:
    try:
        found = typed_json.from_value(Outer, json.loads(json.dumps(value)))
    except ValueError:
        return
    assert typed_json.from_value(Outer, json.loads(typed_json.to_text(found))) == found
