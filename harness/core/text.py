# SPDX-License-Identifier: MIT
"""Making text from elsewhere safe to show. Pure."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")


def visible(text: str, also: str = "") -> str:
    r"""Return `text` on one line: unprintable characters, and those of `also`, as `\x0a`."""
    return "".join(
        character if character.isprintable() and character not in also else _escaped(character)
        for character in text
    )


def last_lines(text: str, count: int = 8) -> str:
    """Return the last lines of a text, for an error; by default as many as it usually shows."""
    return "\n".join(text.splitlines()[-count:])


def public(text: str) -> str:
    """Return `text` without the user names and passwords in its URLs."""
    return _PASSWORD.sub("", text)


def _escaped(character: str) -> str:
    if character.isascii():
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", errors="backslashreplace").decode()
