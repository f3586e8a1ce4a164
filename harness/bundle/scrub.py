# SPDX-License-Identifier: MIT
"""Texts that are given away: without passwords, and without where things are on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.core.paths import REPO, cache_root
from harness.core.text import public


def places_of(words: Iterable[str]) -> dict[str, str]:
    """What is said for each path of this machine: its own folders, and those in `words`.

    `words` are a command's, or where a source is from.
    """
    places = {}
    for word in words:
        path = word.split("://", 1)[-1] if word.startswith("file://") else word
        path = re.sub(r"@[0-9a-f]{40,64}$", "", path).rstrip("/")
        # One folder below the root is everybody's: without it a text loses more than it hides.
        if path.startswith("/") and path.count("/") > 1:
            places[path] = f"<elsewhere>/{Path(path).name}"
            # What lies beside it: a compiler's prefix is no file.
            if path.count("/") > 2:
                places.setdefault(str(Path(path).parent), "<elsewhere>")
    places |= {str(cache_root()): "<cache>", str(REPO): "<repository>"}
    places.setdefault(str(Path.home()), "<home>")
    places.pop("/", None)
    return places


def scrubbed(text: str, places: Mapping[str, str]) -> str:
    """`text` without passwords in URLs, and with the places' names in place of their paths."""
    text = public(text)
    # What is inside another one comes first.
    for path in sorted(places, key=len, reverse=True):
        name = places[path].replace("\\", r"\\")
        text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])", name, text)
    return text


def scrubbed_log(data: bytes, places: Mapping[str, str]) -> bytes:
    """The same of a log, of which nobody knows that it is Unicode."""
    text = data.decode("utf-8", "surrogateescape")
    return scrubbed(text, places).encode("utf-8", "surrogateescape")


def scrubbed_json(text: bytes, places: Mapping[str, str]) -> bytes:
    """The same of JSON, whose texts may be escaped; ValueError if it is none."""
    value = _each_text(json.loads(text), places)
    return (json.dumps(value, indent=2) + "\n").encode()


def _each_text(value: object, places: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return scrubbed(value, places)
    if isinstance(value, list):
        return [_each_text(one, places) for one in value]
    if isinstance(value, dict):
        return {name: _each_text(one, places) for name, one in value.items()}
    return value


def scrubbed_words(words: Sequence[str], places: Mapping[str, str]) -> tuple[str, ...]:
    """The same of each word of a command."""
    return tuple(scrubbed(word, places) for word in words)
