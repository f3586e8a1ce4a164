# SPDX-License-Identifier: MIT
"""core.c, compiled for this host, and Python functions that call it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cffi
from core_model import GIVEN_UP, Mm, Process, Result

from harness.core.paths import KERNEL_PATCHES, REPO

CORE = KERNEL_PATCHES / "common/mm/mm_limits/core.c"
SHIM = REPO / "tests/core"
HEADER = SHIM / "population.h"
FLAGS = ("-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-parentheses")


def compile_core(library: Path, *flags: str) -> Path:
    """Compile core.c and the look at made-up processes into a shared library."""
    sources = [CORE, SHIM / "population.c"]
    include = [f"-I{SHIM}", f"-I{CORE.parent}"]
    words = [*FLAGS, *flags, *include, "-o", str(library), *map(str, sources)]
    subprocess.run(["gcc", "-shared", "-fPIC", *words], check=True)
    return library


class Mark(NamedTuple):
    """When the next look is due: above `at` pages in use, or down to `low` pages in all.

    `near` says whether the user's threads must hold nothing back.
    """

    at: int
    low: int
    near: bool


class Core:
    """The library at `path`."""

    def __init__(self, path: Path) -> None:
        self._ffi = cffi.FFI()
        lines = HEADER.read_text().splitlines()
        self._ffi.cdef("\n".join(line for line in lines if not line.startswith("#")))
        self._library: Any = self._ffi.dlopen(str(path))

    def look(
        self,
        processes: Sequence[Process],
        mms: Sequence[Mm],
        uid: int,
        limit: int,
        now: int,
        patience: int,
    ) -> Result:
        """Do what core_model.look() does."""
        theirs = self._ffi.new("struct core_mm[]", max(len(mms), 1))
        for mm, their in zip(mms, theirs, strict=False):
            their.rss = mm.rss
            their.dying = _word_of(mm)
        rows = [
            (p.uid, -1 if p.mm is None else p.mm, p.is_protected, p.is_dying, p.score)
            for p in processes
        ]
        result = self._ffi.new("struct core_result *")
        everybody = self._ffi.new("struct core_process[]", rows)
        of = self._ffi.new("struct core_limit *", (uid, limit, now, patience))
        self._library.core_look(everybody, len(rows), theirs, len(mms), of, result)
        for mm, their in zip(mms, theirs, strict=False):
            mm.dying = _dying_of(their.dying)
        return Result(
            usage=result.usage,
            dying=result.dying,
            victim=None if result.victim < 0 else result.victim,
            is_over=result.is_over,
            given_up=result.given_up,
        )

    def badness(self, rss: int, swap: int, pgtables: int, admin: bool, adj: int, total: int) -> int:
        """Do what core_model.badness() does."""
        badness: int = self._library.core_badness(rss, swap, pgtables, admin, adj, total)
        return badness

    def exceeds(self, pages: int, limit: int, page_shift: int) -> bool:
        """Return whether `pages` are more than `limit` bytes."""
        over: bool = self._library.core_exceeds(pages, limit, page_shift)
        return over

    def mark(self, usage: int, dying: int, limit: int, reserve: int, held_back: int) -> Mark:
        """Return how far a user with `usage` + `dying` pages may go until the next look.

        Its threads hold back `held_back` pages of them, and at most `reserve`.
        """
        mark = self._ffi.new("struct core_mark *")
        self._library.core_mark(usage, dying, limit, reserve, held_back, mark)
        return Mark(mark.at, mark.low, mark.near)


def _word_of(mm: Mm) -> int:
    if mm.dying is None:
        return 0
    return mm.dying if isinstance(mm.dying, int) else GIVEN_UP


def _dying_of(word: int) -> int | str | None:
    if word == 0:
        return None
    return "given up" if word == GIVEN_UP else word
