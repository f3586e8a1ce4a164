# SPDX-License-Identifier: MIT
"""Sizes, times and users in words that people read. Pure."""

from __future__ import annotations

from rich.filesize import decimal

# Android's users: each person has this many, of which apps begin at the second.
_PER_PERSON = 100_000
_FIRST_APP, _LAST_APP = 10_000, 19_999
_SECOND = 10**9


def grouped(number: int) -> str:
    """A number with its digits in groups of three."""
    return f"{number:,}"


def short_size(size: int) -> str:
    """Bytes in a unit in which they are few: 1 MB is 1,000,000 bytes."""
    return f"-{decimal(-size)}" if size < 0 else decimal(size)


def figure_words(policy: str, figure: int | None) -> str:
    """What a policy compared, with its unit where that is known."""
    if figure is None:
        return ""
    if policy == "runtime":
        return f"{figure / _SECOND:.3f} s CPU time"
    return f"{grouped(figure)} points" if policy == "badness" else grouped(figure)


def user_words(uid: int) -> str:
    """A uid, with Android's name where it is an app's."""
    person, app = divmod(uid, _PER_PERSON)
    if _FIRST_APP <= app <= _LAST_APP:
        return f"{uid} (u{person}_a{app - _FIRST_APP})"
    return str(uid)
