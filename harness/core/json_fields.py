# SPDX-License-Identifier: MIT
"""Reading JSON that may be truncated, from an older harness, or from another program. Pure."""

from __future__ import annotations

import json
import math

_LARGEST = 2**64


def loads(text: str, what: str) -> object:
    """Return the value of a JSON text; a ValueError for an invalid one begins with `what`."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError(f"{what}: nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    return value


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def objects_in(value: object, what: str) -> tuple[Fields, ...]:
    """Return the objects of a list, each named by its index; ValueError if it is no list."""
    if not isinstance(value, list):
        raise ValueError(f"{what}: is no list")
    return tuple(Fields(one, f"{what}[{number}]") for number, one in enumerate(value))


class Fields:
    """An object of a JSON file, whose fields are read by name and type.

    `what` names the object in errors. Each method raises ValueError if the field has another
    type, or is missing and the method names no default.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{what}: is no object")
        self.what = what
        self._value: dict[str, object] = value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string; `default` if it is missing or null."""
        value = self._value.get(name)
        if value is None:
            value = default
        if not isinstance(value, str):
            raise self._wrong(name, "string")
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a string; None if it is missing or null."""
        return None if self._value.get(name) is None else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; an empty one if it is missing."""
        found = self._value.get(name, [])
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self._wrong(name, "list of strings")
        return tuple(found)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Return true or false; `default` if it is missing."""
        value = self._value.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def whole(self, name: str) -> int:
        """Return an integer between -2**64 and 2**64."""
        value = self._value.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST:
            raise self._wrong(name, "whole number")
        return value

    def size(self, name: str) -> int:
        """Return an integer that is not negative."""
        value = self.whole(name)
        if value < 0:
            raise self._wrong(name, "number from 0 on")
        return value

    def whole_or_none(self, name: str) -> int | None:
        """Return an integer; None if it is missing or null."""
        return None if self._value.get(name) is None else self.whole(name)

    def size_or_none(self, name: str) -> int | None:
        """Return an integer that is not negative; None if it is missing or null."""
        return None if self._value.get(name) is None else self.size(name)

    def number(self, name: str) -> float:
        """Return a finite number."""
        value = self._value.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _LARGEST:
            raise self._wrong(name, "number")
        if not math.isfinite(value):
            raise self._wrong(name, "number")
        return float(value)

    def number_or_none(self, name: str) -> float | None:
        """Return a finite number; None if it is missing or null."""
        return None if self._value.get(name) is None else self.number(name)

    def object(self, name: str) -> Fields:
        """Return an object; an empty one if it is missing."""
        return Fields(self._value.get(name, {}), f"{self.what}.{name}")

    def objects(self, name: str) -> tuple[Fields, ...]:
        """Return a list of objects; an empty one if it is missing."""
        return objects_in(self._value.get(name, []), f"{self.what}.{name}")

    def _wrong(self, name: str, wanted: str) -> ValueError:
        return ValueError(f"{self.what}: {name} is no {wanted}")
