# SPDX-License-Identifier: MIT
"""The `report` task: writes the page of a run and the index of all results, for a browser."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from harness.core import typed_json
from harness.core.errors import HarnessError, InfrastructureError, UsageError
from harness.core.paths import RESULTS
from harness.core.text import visible
from harness.report import page as report_page
from harness.report.files import read_text, replace_file
from harness.report.index import Entry, Sweep, entry_of, ordered, sweep_entry_of, time_of
from harness.report.log import Log, lines_known, read_log
from harness.report.view import build
from harness.results.folder import CONSOLE_LOG, INDEX, KERNEL_LOG, LATEST
from harness.results.fuzz_result import FUZZ
from harness.results.run_result import KILLS, VERDICT, RunResult, parse_run
from harness.scenarios.evidence import DECISIONS, USAGE, parse_decisions, parse_usage
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

REPORT = "report.html"
# A sweep and its page, which harness.sweep makes.
_MATRIX = "matrix.json"
_MATRIX_PAGE = "matrix.html"
COMMAND = "command.txt"
_HINT = "./inv emulator-test makes another"
# Result files of other tasks, which have no such page.
_OTHERS = ((FUZZ, "a run of fuzz"), ("bench.json", "a run of bench"), ("bisect.json", "a bisect"))
_Part = TypeVar("_Part")


def run(
    ws: Workspace, result: str = "", *, show: bool = False, results: Path = RESULTS
) -> tuple[Path, ...]:
    """Write the page of a result and the index of all results; return the paths written.

    `result` is a folder: its path, or its name below `results`. If it is empty, it means
    the latest. The index leaves out a folder that is not in `results`. With `show`, open
    the page in a browser; if there is no browser, say so, which is no failure.

    Raise UsageError if there is no such result, and InfrastructureError if one of its
    files cannot be read or written.
    """
    folder = _folder(result, results)
    with ws.reporter.phase(f"report of {visible(folder.name)}"):
        written = [write(folder)]
        # In another folder, index.html may be an unrelated file.
        if folder.parent == results.resolve():
            written.append(write_index(results))
    for path in written[1:]:
        ws.reporter.say(f"all results: {path}")
    ws.reporter.result(f"report: {written[0]}", folder)
    if show and not webbrowser.open(written[0].resolve().as_uri()):
        ws.reporter.say("there is no browser here to open it in")
    return tuple(written)


def leave(folder: Path, reporter: Reporter) -> None:
    """Write the pages at the end of a run, without any effect on its verdict.

    Report an error in one line.
    """
    try:
        reporter.say(f"report: {write(folder)}")
        write_index(folder.parent)
    except Exception as error:
        # Not even a bug in a template may keep the run from printing its verdict.
        text = error.message if isinstance(error, HarnessError) else repr(error)
        reporter.say(f"the report was not written: {visible(text)}")


def write(folder: Path) -> Path:
    """Write the page of a result, and return its path."""
    found = load(folder)
    usage = _parsed(folder / USAGE, parse_usage)
    decisions = _parsed(folder / DECISIONS, parse_decisions)
    reasons = [reason for one in found.judged for reason in one.reasons]
    page = build(found, tuple(_logs(folder, reasons)), usage, decisions)
    command = (read_text(folder / COMMAND) or "").strip()
    started = report_page.local_time(found.started) if found.started else time_of(folder.name)
    html = report_page.report(folder.name, found, page, command, started)
    return replace_file(folder / REPORT, html)


def write_index(results: Path) -> Path:
    """Write the index of the folders in `results`, and return its path."""
    with os.scandir(os.fsencode(results)) as found:
        folders = [one.name for one in found if one.is_dir(follow_symlinks=False)]
    entries = [_entry(results, name) for name in folders]
    return replace_file(results / INDEX, report_page.index(ordered(entries)))


def load(folder: Path) -> RunResult:
    """Return the run in a result's folder.

    Raise UsageError if the folder has no verdict.json, and InfrastructureError if its files
    cannot be read.
    """
    verdict = read_text(folder / VERDICT)
    if verdict is None:
        raise UsageError(f"{folder} is no result of emulator-test: it has no {VERDICT}", hint=_HINT)
    try:
        return parse_run(verdict, read_text(folder / KILLS))
    except ValueError as error:
        raise _unreadable(folder, error) from error


def _parsed(path: Path, parse: Callable[[str], tuple[_Part, ...]]) -> tuple[_Part, ...]:
    """Return the parsed content of a file; empty if it is missing, or the run left it empty."""
    text = read_text(path) or ""
    try:
        return parse(text) if text.strip() else ()
    except ValueError as error:
        raise _unreadable(path.parent, error) from error


def _unreadable(folder: Path, error: ValueError) -> InfrastructureError:
    return InfrastructureError(f"{folder} cannot be read: {visible(str(error))}", hint=_HINT)


def _folder(result: str, results: Path) -> Path:
    """Return the folder that `result` names; if empty, the latest run of emulator-test."""
    if result:
        named = [path for path in (Path(result), results / result) if path.is_dir()]
        if not named:
            raise UsageError(f"there is no result {result!r}", hint=f"ls {results}")
        return named[0].resolve()
    latest = results / LATEST
    if (latest / VERDICT).is_file():
        return latest.resolve()
    # The latest result may be another task's.
    found = sorted(path.parent for path in results.glob(f"*/{VERDICT}"))
    if not found:
        raise UsageError(
            "there are no results of emulator-test", hint="./inv emulator-test makes some"
        )
    return found[-1].resolve()


def _logs(folder: Path, reasons: list[str]) -> Iterator[Log]:
    """Yield the kernel log of each guest, and the part of its console that comes after it."""
    guests = sorted(folder.glob("guest[0-9]*"), key=lambda path: (len(path.name), path.name))
    for number, place in [(1, folder), *((_guest_number(path), path) for path in guests)]:
        key = "" if number == 1 else f"G{number}"
        whose = f" of guest {number}" if guests else ""
        kernel_log = read_text(place / KERNEL_LOG) or ""
        yield read_log(f"{key}L", f"Kernel log{whose}", kernel_log, reasons)
        console = read_text(place / CONSOLE_LOG) or ""
        known = lines_known(console, kernel_log)
        rest = read_log(f"{key}C", f"Console{whose} behind the log", console, reasons, known)
        if rest.lines:
            yield rest


def _guest_number(path: Path) -> int:
    digits = path.name.removeprefix("guest")
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _entry(results: Path, name: bytes) -> Entry:
    """Return the index row of a folder, whatever the folder contains."""
    folder = results / os.fsdecode(name)
    found = (one for one in (_MATRIX_PAGE, REPORT) if (folder / one).is_file())
    page = next(found, "")
    try:
        verdict = read_text(folder / VERDICT)
        if verdict is not None:
            return entry_of(name, parse_run(verdict), page)
        matrix = read_text(folder / _MATRIX)
        if matrix is not None:
            return sweep_entry_of(name, typed_json.read(Sweep, matrix, _MATRIX), page)
        why = next((what for file, what in _OTHERS if (folder / file).is_file()), "")
        half = "half-written" if (folder / COMMAND).is_file() else "holds no verdict"
        return Entry(name, why or half, page)
    except (ValueError, InfrastructureError) as error:
        # An error of read_text() has no hint, so that its message is all of its text.
        return Entry(name, f"unreadable: {error}", page)
