# SPDX-License-Identifier: MIT
"""Keeps the cache below its size: what was unused for longest goes, and nothing that is in use.

This is done at the end of a run, if that run or an earlier one put something in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.filesize import decimal

from harness.core.cache import Cache
from harness.core.errors import InfrastructureError, UsageError
from harness.jobs.entries import Stored, entries, removable

# The lock of the run that is at it.
_LOCK = "room"
_GIB = 1 << 30
_SETTING = "cache_gib"


@dataclass(frozen=True)
class Made:
    """What was done to make room.

    `removed` are the entries that are gone, `freed` their bytes. `refused` says what could not be
    removed, and why.
    """

    removed: tuple[Stored, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def freed(self) -> int:
        """The bytes that the removed entries took."""
        return sum(one.size for one in self.removed)


def limit_of(value: object) -> float:
    """Return the bytes that the setting `cache_gib` allows; 0 means no limit.

    Raise UsageError if it is no number of GiB.
    """
    try:
        gib = float(str(value))
    except ValueError:
        gib = -1.0
    if not gib >= 0:
        raise UsageError(f"{_SETTING} {str(value)!r} is no number of GiB", hint=f"{_SETTING}: 20")
    return gib * _GIB if gib else math.inf


def keep_below(cache: Cache, limit: float, say: Callable[[str], None]) -> None:
    """Make the cache fit into `limit` bytes if something was put in since this was done last.

    It never raises: a run does not fail because room cannot be made. `say` gets a line if
    something was removed, or could not be.
    """
    if limit == math.inf or not cache.has_grown():
        return
    try:
        made = make_room(cache, limit)
    except (OSError, InfrastructureError) as error:
        say(f"the cache may have become too large: {error}")
        return
    if made is None:
        return
    if made.removed:
        first, count = made.removed[0], len(made.removed)
        what = f"{count} entries" if count > 1 else f"{first.kind}/{first.key}"
        over = f"unused for longest ({_SETTING} is {limit / _GIB:g})"
        say(f"the cache: {what} removed, {decimal(made.freed)}, {over}")
    for refused in made.refused[:1]:
        say(f"the cache: cannot remove {refused}")


def make_room(
    cache: Cache,
    limit: float,
    *,
    also: Callable[[Stored], bool] = lambda one: False,
    wait: bool = False,
) -> Made | None:
    """Remove what was unused for longest until the cache fits into `limit` bytes.

    Half-made entries go in any case, and those of which `also` says so. What is in use stays.
    Return None if another run is making room; with `wait`, wait for its end, and find the sizes
    that change anew. Raise InfrastructureError if the cache cannot be written to.
    """
    with cache.lock(_LOCK, wait=wait) as ours:
        if not ours:
            return None
        # First: what another run puts in meanwhile is for the next time.
        cache.has_grown(forget=True)
        found = entries(cache, fresh=wait)
        left = sum(one.size for one in found)
        removed: list[Stored] = []
        refused: list[str] = []
        for one in removable(found, time.time()):
            if left <= limit and not one.partial and not also(one):
                continue
            try:
                gone = one.remove(cache)
            except (OSError, InfrastructureError) as error:
                refused.append(f"{one.path}: {error}")
                continue
            if gone:
                left -= one.size
                removed.append(one)
        if left > limit:
            # What is in use now may not be at the end of the next run.
            cache.grew()
        return Made(tuple(removed), tuple(refused))
