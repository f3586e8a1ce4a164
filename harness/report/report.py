# SPDX-License-Identifier: MIT
"""The `report` task: a page of a run, and one of all results, to look at in a browser."""

from __future__ import annotations

import os
import secrets
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from harness.core.cache import disk_full_named
from harness.core.errors import HarnessError, InfrastructureError, UsageError
from harness.core.paths import RESULTS
from harness.core.text import visible
from harness.report import page as report_page
from harness.report.index import Entry, entry_of, ordered, time_of
from harness.report.log import Log, lines_known, read_log
from harness.report.view import Evidence, build
from harness.results.folder import CONSOLE_LOG, KERNEL_LOG, LATEST
from harness.results.run_result import KILLS, VERDICT, RunResult, parse_run
from harness.scenarios.evidence import DECISIONS, USAGE, parse_decisions, parse_usage
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

REPORT = "report.html"
INDEX = "index.html"
COMMAND = "command.txt"
_HINT = "./inv emulator-test makes another"
# What other tasks leave, which has no page of this kind.
_OTHERS = (("fuzz.json", "a run of fuzz"), ("bench.json", "a run of bench"))
_Parsed = TypeVar("_Parsed")


def run(
    ws: Workspace, result: str = "", *, show: bool = False, results: Path = RESULTS
) -> tuple[Path, ...]:
    """Writes the page of a result and the index of all; returns what was written.

    `result` is a folder, by its path or its name below `results`; the latest if it is
    empty. One that is elsewhere is in no index. With `show` the page is opened in a
    browser; where there is none that is said, and no failure: the page is there.
    UsageError where there is no such result, InfrastructureError where a file of it
    cannot be read or written.
    """
    folder = _folder(result, results)
    with ws.reporter.phase(f"report of {visible(folder.name)}"):
        written = [write(folder)]
        # Elsewhere index.html may be anybody's.
        if folder.parent == results.resolve():
            written.append(write_index(results))
    for path in written[1:]:
        ws.reporter.say(f"all results: {path}")
    ws.reporter.result(f"report: {written[0]}", folder)
    if show and not _opened(written[0]):
        ws.reporter.say("there is no browser here to open it in")
    return tuple(written)


def leave(folder: Path, reporter: Reporter) -> None:
    """Writes the pages at the end of a run, whose verdict they must not change.

    What goes wrong is one line.
    """
    try:
        reporter.say(f"report: {write(folder)}")
        write_index(folder.parent)
    except Exception as error:
        # Also a mistake in a template is less than the verdict that comes behind it.
        text = error.message if isinstance(error, HarnessError) else repr(error)
        reporter.say(f"the report was not written: {visible(text)}")


def write(folder: Path) -> Path:
    """Writes the page of a result, whose path it returns."""
    found = load(folder)
    evidence = Evidence(
        usage=_parsed(folder / USAGE, parse_usage),
        decisions=_parsed(folder / DECISIONS, parse_decisions),
    )
    reasons = [reason for one in found.scenarios for reason in one.reasons]
    page = build(found, evidence, tuple(_logs(folder, reasons)))
    command = (_text(folder / COMMAND) or "").strip()
    started = report_page.local_time(found.started) or time_of(folder.name)
    html = report_page.report(folder.name, found, page, command, started)
    return _replace(folder / REPORT, html)


def write_index(results: Path) -> Path:
    """Writes the index of the folders in `results`, and returns its path."""
    with os.scandir(os.fsencode(results)) as found:
        folders = [one.name for one in found if one.is_dir(follow_symlinks=False)]
    entries = [_entry(results, name) for name in folders]
    return _replace(results / INDEX, report_page.index(ordered(entries)))


def load(folder: Path) -> RunResult:
    """The run in a result's folder; InfrastructureError where its files are none."""
    verdict = _text(folder / VERDICT)
    if verdict is None:
        raise UsageError(f"{folder} is no result of emulator-test: it has no {VERDICT}", hint=_HINT)
    try:
        return parse_run(verdict, _text(folder / KILLS))
    except ValueError as error:
        raise _unreadable(folder, error) from error


def _parsed(path: Path, parse: Callable[[str], _Parsed]) -> _Parsed | None:
    """What is in a file; None where it is missing, or empty as a run left it."""
    text = _text(path)
    if text is None or not text.strip():
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise _unreadable(path.parent, error) from error


def _unreadable(folder: Path, error: ValueError) -> InfrastructureError:
    return InfrastructureError(f"{folder} cannot be read: {visible(str(error))}", hint=_HINT)


def _folder(result: str, results: Path) -> Path:
    """The folder that is meant."""
    if result:
        named = [path for path in (Path(result), results / result) if path.is_dir()]
        if not named:
            raise UsageError(f"there is no result {result!r}", hint=f"ls {results}")
        return named[0].resolve()
    latest = results / LATEST
    if (latest / VERDICT).is_file():
        return latest.resolve()
    # The latest may be of another task.
    found = sorted(path.parent for path in results.glob(f"*/{VERDICT}"))
    if not found:
        raise UsageError(
            "there are no results of emulator-test", hint="./inv emulator-test makes some"
        )
    return found[-1].resolve()


def _logs(folder: Path, reasons: list[str]) -> Iterator[Log]:
    """The kernel log of each guest, and what of its console is not in there."""
    guests = sorted(folder.glob("guest[0-9]*"), key=lambda path: (len(path.name), path.name))
    for number, place in [(1, folder), *((_guest_number(path), path) for path in guests)]:
        key = "" if number == 1 else f"G{number}"
        whose = f" of guest {number}" if guests else ""
        kernel_log = _text(place / KERNEL_LOG) or ""
        yield read_log(f"{key}L", f"Kernel log{whose}", kernel_log, reasons)
        console = _text(place / CONSOLE_LOG) or ""
        known = lines_known(console, kernel_log)
        rest = read_log(f"{key}C", f"Console{whose} behind the log", console, reasons, known)
        if rest.lines:
            yield rest


def _guest_number(path: Path) -> int:
    digits = path.name.removeprefix("guest")
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _entry(results: Path, name: bytes) -> Entry:
    """The row of a folder, whatever is in it."""
    folder = results / os.fsdecode(name)
    has_page = (folder / REPORT).is_file()
    try:
        verdict = _text(folder / VERDICT)
        if verdict is not None:
            return entry_of(name, parse_run(verdict), has_page)
        why = next((what for file, what in _OTHERS if (folder / file).is_file()), "")
        half = "half-written" if (folder / COMMAND).is_file() else "holds no verdict"
        return Entry(name, None, why or half, has_page)
    except ValueError as error:
        return Entry(name, None, f"unreadable: {error}", has_page)
    except InfrastructureError as error:
        return Entry(name, None, f"unreadable: {error.message}", has_page)


def _text(path: Path) -> str | None:
    """A file's text; bytes that are no UTF-8 as their numbers; None where there is no file."""
    try:
        return path.read_bytes().decode(errors="backslashreplace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InfrastructureError(f"{path} cannot be read: {error.strerror}") from error


def _replace(path: Path, text: str) -> Path:
    """Writes a file as a whole: two runs that end at once do not mix."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        with disk_full_named(path.parent):
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
    except OSError as error:
        raise InfrastructureError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _opened(path: Path) -> bool:
    """Whether a browser was found for the page."""
    return webbrowser.open(path.resolve().as_uri())
