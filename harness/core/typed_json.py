# SPDX-License-Identifier: MIT
"""JSON, written and read by the same classes (msgspec's); any other form is refused. Pure.

A file may be truncated, come from an older harness or from a stranger. What is read are the
numbers that JSON has (no NaN), of a size that a 64-bit kernel can report.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec

T = TypeVar("T")

_LARGEST = 2**64
# The largest file offset, and the largest number that all JSON readers of today agree on.
_LARGEST_SIZE = 2**63 - 1

# The escape of half a surrogate pair, or of a character that is such a pair.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

Count = Annotated[int, msgspec.Meta(ge=0)]


def to_text(value: object, indent: int | None = 2, *, exact: bool = False) -> str:
    """Return a value as JSON in ASCII, with the fields of its objects in their order.

    A text that is no valid Unicode, such as a path may be, gets its bytes escaped: most
    readers refuse half a surrogate pair. With `exact` it is written so that only parse() reads
    it. The text ends with a line end if it is indented.
    """
    told = msgspec.to_builtins(value)
    text = json.dumps(told, allow_nan=False)
    if _SURROGATE.search(text):
        # msgspec refuses half a pair.
        text = json.dumps(told if exact else _valid(told), indent=indent, allow_nan=False)
    elif indent is not None:
        # json indents in Python, which takes several times as long as all else.
        text = msgspec.json.format(text, indent=indent)
    return text if indent is None else f"{text}\n"


def _valid(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_valid(one) for one in value]
    if isinstance(value, dict):
        return {str(_valid(name)): _valid(one) for name, one in value.items()}
    return value


def parse(text: str | bytes, what: str = "") -> object:
    """Return the value of any JSON text; a ValueError for an invalid one begins with `what`."""
    try:
        value: object = json.loads(
            text, parse_constant=_refused, parse_float=_finite, parse_int=_of_sensible_size
        )
    except RecursionError as error:
        raise _named(what, "it is nested too deeply") from error
    except ValueError as error:
        raise _named(what, error) from error
    return value


def from_value(kind: type[T], value: object, what: str = "") -> T:
    """Return a `kind` made from a parsed value; a ValueError says, after `what`, what is wrong.

    `kind` is a dataclass, or any other type that msgspec converts to. Fields that it does not
    have are left out.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _named(what, error) from error


def read(kind: type[T], text: str | bytes, what: str = "") -> T:
    """Return a `kind` made from a JSON text; ValueError as from parse() and from_value()."""
    return from_value(kind, parse(text, what), what)


def from_stranger(kind: type[T], value: object) -> T:
    """Return a `kind` made from a parsed value that a stranger may have sent.

    Each text must be printable, so that it can be shown, and each integer small enough to be
    a size. A field that `kind` does not have is an error. ValueError as from from_value().
    """
    _check(value, "$")
    found = from_value(kind, value)
    _check_known(value, msgspec.to_builtins(found), "$")
    return found


def _named(what: str, why: object) -> ValueError:
    return ValueError(f"{what}: {why}" if what else str(why))


def _check(value: object, where: str) -> None:
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"a text is not printable - at `{where}`")
    if isinstance(value, int) and not 0 <= value <= _LARGEST_SIZE:
        raise ValueError(f"not a number of a sensible size - at `{where}`")
    for place, one in _inside(value, where):
        _check(one, place)


def _check_known(value: object, known: object, where: str) -> None:
    if isinstance(value, dict) and isinstance(known, dict):
        for name in value.keys() - known.keys():
            raise ValueError(f"there is an unknown field {name!a} - at `{where}`")
    found = dict(_inside(known, where))
    for place, one in _inside(value, where):
        _check_known(one, found[place], place)


def _inside(value: object, where: str) -> Iterator[tuple[str, object]]:
    """Yield what is in a list or an object, each with its place in the notation of msgspec."""
    if isinstance(value, list | tuple):
        yield from ((f"{where}[{number}]", one) for number, one in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"{where}.{name}", one) for name, one in value.items())


def _refused(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is no number of a sensible size")
    return number


def _of_sensible_size(digits: str) -> int:
    # The length first: to read millions of digits takes long.
    if len(digits) > len(str(-_LARGEST)) or abs(number := int(digits)) > _LARGEST:
        raise ValueError(f"{digits[:40]} is no number of a sensible size")
    return number
