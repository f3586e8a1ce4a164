# SPDX-License-Identifier: MIT
"""The `cache` and `clean` tasks: show the cache's entries, remove unused ones, remove results."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.table import Table

from harness.core.errors import UsageError
from harness.core.paths import RESULTS
from harness.jobs.entries import DAY, Stored, entries
from harness.jobs.room import make_room
from harness.results.folder import contents_of
from harness.ui.workspace import Workspace

DEFAULT_DAYS = 30
_IN_USE = "in use"
# The folder for results that are being removed.
_ASIDE = ".goldfish-oom-removed-"


def run(
    ws: Workspace,
    *,
    prune: bool = False,
    days: str = str(DEFAULT_DAYS),
    limit: float = math.inf,
) -> None:
    """Show the entries; with `prune` remove those unused for `days` days, and half-made ones.

    With `prune` the longest unused go, too, until the cache fits into `limit` bytes. What a run
    uses stays. Raise UsageError if `days` is no number.
    """
    most = _days_of(days)
    if prune:
        _prune(ws, most, limit)
        return
    with ws.reporter.phase("look at the cache"):
        found, now = entries(ws.cache, fresh=True), time.time()
    in_use = {one.path for one in found if one.key and one.in_use(ws.cache)}
    ws.reporter.console.print(table(found, in_use, now))
    ws.reporter.console.print(kinds(found, in_use, now))
    size = sum(one.size for one in found)
    allowed = "no limit" if limit == math.inf else f"cache_gib allows {decimal(int(limit))}"
    count = sum(bool(one.key) for one in found)
    ws.reporter.result(f"{count} entries, {decimal(size)} in {ws.cache.root}; {allowed}")


def table(found: Iterable[Stored], in_use: set[Path], now: float) -> Table:
    """Return the table of the entries, with sizes and ages."""
    shown = Table(title="Cache", title_justify="left", box=SIMPLE_HEAD)
    shown.add_column("kind", no_wrap=True)
    shown.add_column("entry", overflow="fold")
    for name in ("size", "unused for"):
        shown.add_column(name, justify="right", no_wrap=True)
    for one in found:
        if not one.key:
            continue
        key = f"{one.key} (half-made)" if one.partial else one.key
        unused = _IN_USE if one.path in in_use else f"{one.days(now):.1f} d"
        shown.add_row(one.kind, key, decimal(one.size), unused)
    return shown


def kinds(found: Iterable[Stored], in_use: set[Path], now: float) -> Table:
    """Return the table of the kinds of entries, the largest first."""
    shown = Table(title="By kind", title_justify="left", box=SIMPLE_HEAD)
    shown.add_column("kind", no_wrap=True)
    for name in ("entries", "size", "used last", _IN_USE):
        shown.add_column(name, justify="right", no_wrap=True)
    by_kind: dict[str, list[Stored]] = {}
    for one in found:
        by_kind.setdefault(one.kind, []).append(one)
    for kind, ones in sorted(by_kind.items(), key=lambda pair: -_size(pair[1])):
        count = sum(bool(one.key) for one in ones)
        busy = [one for one in ones if one.path in in_use]
        shown.add_row(
            kind,
            str(count) if count else "",
            decimal(_size(ones)),
            f"{min(one.days(now) for one in ones):.1f} d ago",
            f"{len(busy)}, {decimal(_size(busy))}" if busy else "",
        )
    return shown


def _size(ones: Iterable[Stored]) -> int:
    return sum(one.size for one in ones)


def _prune(ws: Workspace, days: float, limit: float) -> None:
    """Remove what was unused for `days` days, and more until the cache fits into `limit` bytes.

    A log stays for a day at least: a run may be writing it.
    """
    now = time.time()
    with ws.reporter.phase("look at the cache"):
        _remove_logs(ws.logs, max(days, 1.0), now)
        made = make_room(ws.cache, limit, also=lambda one: one.days(now) >= days, wait=True)
    if made is None:
        return
    for one in made.removed:
        ws.reporter.say(f"remove {one.path}")
    for refused in made.refused:
        ws.reporter.say(f"cannot remove {refused}")
    ws.reporter.result(f"removed {len(made.removed)} entries, {decimal(made.freed)}")


def _remove_logs(folder: Path, days: float, now: float) -> None:
    """Remove the logs to which nothing was written for `days` days."""
    with suppress(FileNotFoundError):
        for log in folder.iterdir():
            # Another run may do the same.
            with suppress(OSError):
                if now - log.stat().st_mtime >= days * DAY:
                    log.unlink()


def _days_of(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not days >= 0:
        raise UsageError(f"{text!r} is no number of days", hint=f"--days {DEFAULT_DAYS}")
    return days


def clean(ws: Workspace, *, cache: bool, results: Path = RESULTS) -> None:
    """Remove all results; with `cache`, the cache as well. What is no result stays, and is told."""
    with ws.reporter.phase("clean"):
        if results.is_dir():
            _remove_results(ws, results)
        if cache:
            if ws.cache.root.exists():
                ws.reporter.say(f"remove {ws.cache.root}")
            _remove_folder(ws.cache.root)


def _remove_results(ws: Workspace, results: Path) -> None:
    """Remove the results in a folder, and the folder if nothing else is in it.

    They are moved aside first: none is ever half-removed, even if this is interrupted.
    """
    ours, others = contents_of(results)
    ws.reporter.say(f"remove {len(ours)} results and pages from {results}")
    aside = results / f"{_ASIDE}{os.getpid()}"
    aside.mkdir(exist_ok=True)
    for path in ours:
        path.rename(aside / path.name)
    for removed in results.glob(f"{_ASIDE}*"):
        shutil.rmtree(removed, ignore_errors=True)
    for path in others:
        if path.exists() and not path.name.startswith(_ASIDE):
            ws.reporter.say(f"{path} is no result, and stays")
    with suppress(OSError):
        results.rmdir()


def _remove_folder(folder: Path) -> None:
    """Remove `folder`, which is renamed first: it is never half-removed, even if interrupted."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.removed-{os.getpid()}"))
    for removed in folder.parent.glob(f"{folder.name}.removed-*"):
        shutil.rmtree(removed, ignore_errors=True)
