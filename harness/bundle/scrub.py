# SPDX-License-Identifier: MIT
"""Removes passwords and this machine's paths from texts that are handed on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.core import typed_json
from harness.core.paths import REPO, cache_root
from harness.core.text import public


def places_of(words: Iterable[str]) -> dict[str, str]:
    """Return the replacement for each path of this machine: its own folders, those in `words`.

    `words` are those of a command, and the origins of a source.
    """
    places = {}
    for word in words:
        path = word.split("://", 1)[-1] if word.startswith("file://") else word
        path = re.sub(r"@[0-9a-f]{40,64}$", "", path).rstrip("/")
        # A folder right below the root exists everywhere: to hide it would spoil more than it
        # hides.
        if path.startswith("/") and path.count("/") > 1:
            places[path] = f"<elsewhere>/{Path(path).name}"
            # Hide its folder, too: a compiler's prefix is no file, only the beginning of some.
            if path.count("/") > 2:
                places.setdefault(str(Path(path).parent), "<elsewhere>")
    places |= {str(cache_root()): "<cache>", str(REPO): "<repository>"}
    places.setdefault(str(Path.home()), "<home>")
    places.pop("/", None)
    return places


def scrubbed(text: str, places: Mapping[str, str]) -> str:
    """Return `text` without passwords in URLs, and with each path replaced as in `places`."""
    text = public(text)
    # Longer paths first: they may be inside the shorter ones.
    for path in sorted(places, key=len, reverse=True):
        name = places[path].replace("\\", r"\\")
        text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])", name, text)
    return text


def scrubbed_log(data: bytes, places: Mapping[str, str]) -> bytes:
    """Scrub a log, which may contain bytes that are no UTF-8."""
    text = data.decode("utf-8", "surrogateescape")
    return scrubbed(text, places).encode("utf-8", "surrogateescape")


def scrubbed_json(text: bytes, places: Mapping[str, str]) -> bytes:
    """Scrub the strings of a JSON text, which may be escaped; ValueError if it is malformed."""
    value = _each_text(typed_json.parse(text), places)
    return typed_json.to_text(value, exact=True).encode()


def _each_text(value: object, places: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return scrubbed(value, places)
    if isinstance(value, list):
        return [_each_text(one, places) for one in value]
    if isinstance(value, dict):
        return {name: _each_text(one, places) for name, one in value.items()}
    return value


def scrubbed_words(words: Sequence[str], places: Mapping[str, str]) -> tuple[str, ...]:
    """Scrub each word of a command."""
    return tuple(scrubbed(word, places) for word in words)
