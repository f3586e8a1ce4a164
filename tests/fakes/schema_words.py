# SPDX-License-Identifier: MIT
"""The types of JSON fields in the words of docs/, from the schemas that msgspec makes."""

from __future__ import annotations

from typing import Any

import msgspec


def types_of(kind: type[Any]) -> dict[str, str]:
    """Return the fields of a class's objects, in their order, each with its type in words."""
    _, known = msgspec.json.schema_components([kind])
    return {name: _words(one) for name, one in known[kind.__name__]["properties"].items()}


def _words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_words(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return "object"
    if schema["type"] != "array":
        return str(schema["type"])
    inside = _words(schema["items"]) if "items" in schema else "value"
    return f"list of {inside}s"
