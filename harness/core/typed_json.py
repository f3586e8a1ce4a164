# SPDX-License-Identifier: MIT
"""Conversion between JSON and dataclasses; JSON of any other form is refused. Pure.

The files may come from strangers: every text must be printable, so that it can be shown, and
every integer small enough to be a size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_LARGEST = 2**63 - 1


def to_text(value: object) -> str:
    """Return a dataclass as indented JSON, with its fields in their order."""
    return json.dumps(asdict(cast("Any", value)), indent=2) + "\n"


def parse(text: str | bytes) -> object:
    """Return the value of any JSON text; ValueError if it is invalid."""
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def from_value(kind: type[T], value: object, where: str = "") -> T:
    """Return a `kind` made from a JSON value; ValueError says what is wrong, and where.

    `kind` is a dataclass of strings, numbers, booleans, and tuples of these, or of other
    dataclasses. A field with a default may be missing. A field that `kind` does not have is an
    error.
    """
    return cast("T", _from_value(kind, value, where))


def _from_value(kind: object, value: object, where: str) -> object:
    if get_origin(kind) is UnionType:
        return _optional(kind, value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _wrong(where, "a list")
        item = get_args(kind)[0]
        return tuple(
            _from_value(item, one, f"{where}[{number}]") for number, one in enumerate(value)
        )
    if is_dataclass(kind):
        return _object(cast("type", kind), value, where)
    # Not isinstance(): True is an int in Python.
    if type(value) is not kind:
        raise _wrong(where, cast("type", kind).__name__)
    if isinstance(value, str) and not value.isprintable():
        raise _wrong(where, "printable")
    if isinstance(value, int) and not 0 <= value <= _LARGEST:
        raise _wrong(where, "a number of a sensible size")
    return value


def _optional(kind: object, value: object, where: str) -> object:
    first, nothing = get_args(kind)
    assert nothing is NoneType
    return None if value is None else _from_value(first, value, where)


def _object(kind: type, value: object, where: str) -> object:
    if not isinstance(value, Mapping):
        raise _wrong(where, "an object")
    hints, found = get_type_hints(kind), {}
    for field in fields(kind):
        place = f"{where}.{field.name}".lstrip(".")
        if field.name in value:
            found[field.name] = _from_value(hints[field.name], value[field.name], place)
        elif field.default is MISSING:
            raise ValueError(f"{place} is missing")
    unknown = sorted(value.keys() - found.keys())
    if unknown:
        raise ValueError(f"{where or 'it'} has an unknown field: {unknown[0]!a}")
    return kind(**found)


def _wrong(where: str, wanted: str) -> ValueError:
    return ValueError(f"{where or 'it'} is not {wanted}")
