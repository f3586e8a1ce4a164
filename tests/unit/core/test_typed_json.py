# SPDX-License-Identifier: MIT
"""JSON that has another form than was asked for is refused, and it is said where."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import typed_json


@dataclass(frozen=True)
class Inner:
    number: typed_json.Count
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
    assert text.isascii()
    assert typed_json.read(Outer, text) == value
    assert typed_json.from_stranger(Outer, typed_json.parse(text)) == value


def test_defaults_stand_for_what_is_missing() -> None:
    value = {"name": "a", "inner": {"number": 1}}
    assert typed_json.from_stranger(Outer, value) == Outer("a", Inner(1))


def test_bytes_that_are_no_text_are_still_json() -> None:
    path = b"/tmp/\xff".decode("utf-8", "surrogateescape")
    assert typed_json.to_text([{path: path}], indent=None) == r'[{"/tmp/\\udcff": "/tmp/\\udcff"}]'


WRONG: list[tuple[dict[str, object], str]] = [
    ({"name": 1}, r"Expected `str`, got `int` - at `\$\.name`"),
    ({"name": None}, r"Expected `str`, got `null` - at `\$\.name`"),
    ({"inner": []}, r"Expected `object`, got `array` - at `\$\.inner`"),
    ({"inner": {}}, r"missing required field `number` - at `\$\.inner`"),
    ({"inner": {"number": True}}, r"Expected `int`, got `bool` - at `\$\.inner\.number`"),
    ({"inner": {"number": 1.0}}, r"Expected `int`, got `float` - at `\$\.inner\.number`"),
    ({"inner": {"number": -1}}, r" - at `\$\.inner\.number`"),
    ({"inner": {"number": 1, "flag": 1}}, r"Expected `bool`, got `int` - at `\$\.inner\.flag`"),
    ({"many": {}}, r"Expected `array`, got `object` - at `\$\.many`"),
    ({"many": [{"number": 1}, 2]}, r"Expected `object`, got `int` - at `\$\.many\[1\]`"),
    ({"words": ["a", 2]}, r"Expected `str`, got `int` - at `\$\.words\[1\]`"),
    ({"maybe": 1}, r"Expected `object \| null`, got `int` - at `\$\.maybe`"),
]
OF_A_STRANGER: list[tuple[dict[str, object], str]] = [
    ({"name": "a\nb"}, r"not printable - at `\$\.name`"),
    ({"name": "\ud800"}, r"not printable - at `\$\.name`"),
    ({"words": ["a", "\u202e"]}, r"not printable - at `\$\.words\[1\]`"),
    ({"inner": {"number": 2**63}}, r"not a number of a sensible size - at `\$\.inner\.number`"),
    ({"nonsense": 1}, r"unknown field 'nonsense' - at `\$`"),
    ({"nonsense\n": 1}, r"unknown field 'nonsense\\n' - at `\$`"),
    ({"many": [{"number": 1, "x": 1}]}, r"unknown field 'x' - at `\$\.many\[0\]`"),
    ({"maybe": {"number": 1, "x": 1}}, r"unknown field 'x' - at `\$\.maybe`"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
@pytest.mark.parametrize("convert", [typed_json.from_value, typed_json.from_stranger])
def test_what_is_wrong_is_named(
    convert: Callable[[type[Outer], object], Outer], change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        convert(Outer, {"name": "a", "inner": {"number": 1}, **change})


@pytest.mark.parametrize(("change", "message"), OF_A_STRANGER)
def test_more_is_wrong_if_a_stranger_sent_it(change: dict[str, object], message: str) -> None:
    value = {"name": "a", "inner": {"number": 1}, **change}
    typed_json.from_value(Outer, value)
    with pytest.raises(ValueError, match=message):
        typed_json.from_stranger(Outer, value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[" * 100_000, b"\xff\xfe\x00", '{"a": ' + "9" * 5000, "1" * 10_000_000),
        *("NaN", "[-Infinity]", "1e999", str(2**64 + 1), str(-(2**64) - 1)),
    ],
)
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^my\.json: "):
        typed_json.parse(text, "my.json")


@pytest.mark.parametrize("number", [2**64, -(2**64), 0, 1.5e300])
def test_numbers_of_a_kernel_are_read(number: float) -> None:
    assert typed_json.parse(json.dumps(number)) == number


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
        found = typed_json.from_stranger(Outer, value)
    except ValueError:
        return
    assert typed_json.read(Outer, typed_json.to_text(found)) == found


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_JSON)
def test_it_is_indented_as_pythons_own(value: object) -> None:
    assert typed_json.to_text(value) == json.dumps(value, indent=2) + "\n"
