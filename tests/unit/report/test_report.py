# SPDX-License-Identifier: MIT
"""The report page and the index: what they say, that they are whole, and who writes them."""

from __future__ import annotations

import json
import re
import time
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import report_results as results
from html_pages import Page, checked
from hypothesis import given
from report_results import judged, kill, run_of
from summaries import summaries, texts
from test_tasks import context

import tasks
from harness.core.errors import DiskFullError, HarnessError, InfrastructureError, UsageError
from harness.core.paths import RESULTS
from harness.report import page as report_page
from harness.report import report
from harness.report.index import entry_of, filters_of, ordered, time_of
from harness.report.log import read_log
from harness.report.view import build
from harness.results.folder import LATEST
from harness.results.run_result import RunResult, kills_json, parse_run, verdict_json
from harness.scenarios.evidence import (
    DECISIONS,
    PROC_MM_LIMITS,
    USAGE,
    Peak,
    ScenarioUsage,
    UsageSample,
)
from harness.scenarios.verdict import Outcome
from harness.ui.workspace import Workspace


def page_of(folder: Path) -> Page:
    return checked(report.write(folder).read_text())


def rendered(run: RunResult, log: str = "", name: str = "a-run") -> str:
    """The page of a run that has no folder."""
    found = parse_run(verdict_json(run), kills_json(run))
    page = build(found, (read_log("L", "Kernel log", log),))
    return report_page.report(name, found, page, "./inv", "")


# --- a page of each kind --------------------------------------------------------------------


SAID: dict[Callable[[Path], Path], tuple[str, ...]] = {
    results.passing: (
        *("PASS : 3 scenarios on 6.1.153-gfoom-0123456789ab", "5 scenarios and logs: 5 passed."),
        *("./inv emulator-test --policy rss --trigger alloc", "gcc 12; ld 2.40"),
        *("QEMU emulator version 7.2.22", "Debian's linux-source-6.1 6.1.153-1"),
        *("7.370000", "100,003,840", "100.0 MB", "10070 (u0_a70)", "97,226,752", "pid 95"),
        "User 10070 (u0_a70) used at most 100.0 MB between 5.00 and 7.39 s. Limit: 100.0 MB.",
        *("Killed: pid 95 at 7.37 s.", "Nobody was killed.", "as the model expects", "◀ chosen"),
        *("Memory was not sampled in this scenario.", "lines 1 to 95, nothing special"),
    ),
    results.wrong_victim: (
        *("FAIL : wrong victim in course (policy rss)", "The kernel did something wrong."),
        *("main child 0 died; main child 1 should have, alone", "1 passed, 1 failed"),
        "pid 95 was chosen. The model disagrees: it expects pid 96.",
        *("◀ chosen", "◁ the model's choice"),
    ),
    results.infrastructure: (
        "NO VERDICT : infrastructure failed in report (policy rss)",
        "nothing is known about the kernel",
        "What ended it: the machine (QEMU) was killed by SIGKILL",
    ),
    results.interrupted: ("NOT FINISHED : ended by Ctrl-C", "1 passed, 2 not judged"),
    results.empty: (
        *("NOT FINISHED : the run did not finish", "None was judged."),
        *("kernel release not told", "It is empty."),
    ),
    results.hostile: (
        *("<script>document.title='owned'</script>", "\\u202egnp.exe\\u2066", "\\x00\\x1b[31m"),
        *("{{ 7 * 7 }}", "&lt;b&gt;", "\\ud800", "a\\x0ab\\x0d", "<i>\\x0a", "\\xff\\xfe\\x00"),
        *("\\u2028\\u2029\\u200b\\ufeff", "</style></script></svg>"),
    ),
}


@pytest.mark.parametrize("kind", SAID, ids=lambda kind: kind.__name__)
def test_the_page_of_a_run(kind: Callable[[Path], Path], tmp_path: Path) -> None:
    text = page_of(kind(tmp_path)).text
    for words in SAID[kind]:
        assert words in text
    is_wrong = kind in (results.wrong_victim, results.hostile)
    assert ("disagrees" in text) == is_wrong
    assert ("What speaks against it" in text) == (is_wrong or kind is results.infrastructure)
    not_judged = 2 if kind is results.interrupted else 0
    assert text.count("It was planned, and has no verdict.") == not_judged
    assert "secret" not in text


def test_a_kernel_that_died(tmp_path: Path) -> None:
    page = page_of(results.oops(tmp_path))
    text = page.text
    assert "FAIL : kernel died in report (policy rss)" in text
    title = "kernel NULL pointer dereference in mm_limits_count"
    assert text.index(title) < text.index("What speaks against it") < text.index("Versions kernel")
    assert "What ended it: the kernel died" in text
    assert "NOT JUDGED" in text
    assert "This run took no samples of memory over time." in text
    assert "This run did not write down the candidates of its kills." in text
    # With the place in the source.
    assert "mm_limits_count+0x84/0x208 (scan.c:9)" in text
    # The reason leads to its line.
    assert "00000008 line 7" in text


def test_a_long_log_is_whole_and_its_page_comes_soon(tmp_path: Path) -> None:
    seconds: list[float] = []
    for lines in (600, 600, 6000):
        folder = results.long_log(tmp_path / str(len(seconds)), lines=lines)
        began = time.process_time()
        text = report.write(folder).read_text()
        seconds.append(time.process_time() - began)
    # Ten times the lines take ten times as long; what grows with their square takes a hundred
    # times. The first page of a process takes longer than all others.
    assert seconds[2] < 40 * seconds[1]
    page = checked(text)
    assert "L6000" in page.ids
    assert len(text) < 1_200_000
    assert "lines 1 to 500, nothing special" in page.text


def test_several_guests(tmp_path: Path) -> None:
    folder = results.passing(tmp_path)
    for number in (2, 10):
        guest = folder / f"guest{number}"
        guest.mkdir()
        (guest / "kernel.log").write_text(f"<6>[ 1.0] this is guest {number}\n")
        (guest / "console.log").write_text("[ 1.0] a\n[ 2.0] later\n")
    page = page_of(folder)
    headings = re.findall(r"Kernel log of guest \d+", page.text)
    assert list(dict.fromkeys(headings)) == [f"Kernel log of guest {one}" for one in (1, 2, 10)]
    assert "this is guest 10" in page.text
    assert {"L1", "G2L1", "G10L1", "G2C2"} <= set(page.ids)


# --- evidence that is missing, or is too much -------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "[]\n"])
def test_no_evidence_is_said_briefly(tmp_path: Path, text: str | None) -> None:
    folder = results.passing(tmp_path)
    for name in (USAGE, DECISIONS):
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
    page = page_of(folder)
    assert page.text.count("This run took no samples of memory over time.") == 1
    assert page.text.count("This run did not write down the candidates of its kills.") == 1
    assert not [tag for tag, _ in page.elements if tag == "figure"]


def test_evidence_of_what_has_no_verdict_is_shown(tmp_path: Path) -> None:
    first = kill(7.37, 95)
    run = run_of(judged("report"), finished=False, problem="KeyboardInterrupt")
    folder = results.leave(
        tmp_path, run, "", usages=[replace(results.usage("course", [first], 5.0), trigger="")]
    )
    text = page_of(folder).text
    assert "NOT JUDGED course, policy rss" in text
    assert "used at most" in text


def test_the_kernels_own_sums_and_its_largest_are_told(tmp_path: Path) -> None:
    """Also where nobody looked while anything was there to see."""
    read = UsageSample(6.0, 10070, 20_000_000, 100_000_000, PROC_MM_LIMITS)
    peaks = (Peak(10070, 123_000_000, 100_000_000),)
    usages = [ScenarioUsage("report", "rss", "alloc", 6.0, (read,), peaks)]
    folder = results.leave(tmp_path, run_of(judged("report")), "", usages=usages)
    text = page_of(folder).text
    assert "used at most 123.0 MB" in text
    assert "The kernel's largest sum: 123.0 MB." in text
    assert "6.000 20,000,000 100,000,000 /proc/mm_limits" in text


def test_records_that_are_lost_are_counted(tmp_path: Path) -> None:
    folder = results.passing(tmp_path)
    (folder / "kills.json").unlink()
    text = page_of(folder).text
    assert "1 kill records are missing in kills.json." in text
    assert "2 kill records are missing in kills.json." in text


def test_records_that_belong_to_nothing_are_shown(tmp_path: Path) -> None:
    folder = results.interrupted(tmp_path)
    kills = json.loads((folder / "kills.json").read_text())
    (folder / "kills.json").write_text(json.dumps([*kills, {**kills[0], "scenario": "course"}]))
    assert "Kill records that belong to no verdict" in page_of(folder).text


def test_all_of_a_record_is_shown(tmp_path: Path) -> None:
    one = kill(
        *(7.0, 95, "a\n"),
        policy="runtime",
        figure=1_500_000_000,
        sharer_of=94,
        dry_run=True,
        trigger="grace",
    )
    unknown = replace(kill(8.0, 96), time=None, policy="youngest", figure=-3)
    run = run_of(judged("report", kills=[one, unknown]))
    folder = results.leave(tmp_path, run, "", usages=[results.usage("report", [], 5.0)])
    text = page_of(folder).text
    for words in (
        *("runtime 1,500,000,000 1.500 s CPU time", "a\\x0a", "dry run: nobody died", "grace"),
        *("died with pid 94, whose memory it shared", "not told", "youngest -3"),
    ):
        assert words in text
    assert "1 of them at times that the kernel did not tell." in text


# --- whatever the run is --------------------------------------------------------------------


@given(summaries())
def test_every_run_makes_a_page(run: RunResult) -> None:
    page = checked(rendered(run, "<6>[ 1.0] x\n"))
    rows = [tag for tag, _ in page.elements].count("tr")
    assert rows >= len(run.judged) + len(run.missing)


@given(texts(), texts())
def test_no_name_makes_an_element(name: str, line: str) -> None:
    def elements(name: str, line: str) -> list[tuple[str, tuple[str, ...]]]:
        bad = judged(name, Outcome.NOT_KILLED, name, policy="rss")
        log = "".join(character for character in line if character not in "\r\n")
        run = run_of(bad, release=name, kernel=name, changed=(name,), problem="x", origin="y")
        return Page(rendered(run, f"x {log}\n", name)).elements

    assert elements(f"z{name}", line) == elements("z", "z")


def test_headings_are_in_order(tmp_path: Path) -> None:
    for kind in (results.passing, results.wrong_victim, results.oops, results.empty):
        page = page_of(kind(tmp_path / kind.__name__))
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(below <= above + 1 for above, below in pairwise(levels))


# --- the index ------------------------------------------------------------------------------


def index_of(root: Path) -> Page:
    return checked(report.write_index(root).read_text())


def test_the_index_has_all_folders_whatever_they_are(tmp_path: Path) -> None:
    report.write(results.passing(tmp_path))
    results.hostile(tmp_path, "20261126-160000-<b>'\"&?#%\n\u202e")
    for name, file, text in (
        ("20261126-111111-linux-6.1-rss", "command.txt", "./inv\n"),
        ("20261126-111113-linux-6.1-rss", "verdict.json", '{"pas'),
        ("20261126-111115-linux-6.1-fuzz", "fuzz.json", "{}"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    (tmp_path / "20261126-111112-linux-6.1-rss").mkdir()
    (tmp_path / "20261126-111114-linux-6.1-rss" / "verdict.json").mkdir(parents=True)
    (tmp_path / LATEST).symlink_to("20261126-111115-linux-6.1-fuzz")
    (tmp_path / "notes.txt").write_text("")
    page = index_of(tmp_path)
    assert [tag for tag, _ in page.elements].count("tr") == 1 + 7
    for words in (
        *("PASS", "FAIL", "no result", "half-written", "holds no verdict", "a run of fuzz"),
        *("unreadable: verdict.json: ", "cannot be read: Is a directory", "7 results"),
        "20261126-160000-<b>'\"&?#%\\x0a\\u202e",
    ):
        assert words in page.text


def test_the_newest_are_first(tmp_path: Path) -> None:
    for name in ("20261126-151935-a-b", "20261127-000000-a-b", "20251231-235959-a-b", "other"):
        results.empty(tmp_path, name)
    text = index_of(tmp_path).text
    places = [text.index(name) for name in ("2026-11-27", "2026-11-26", "2025-12-31", "other")]
    assert places == sorted(places)


def test_an_index_of_nothing(tmp_path: Path) -> None:
    assert "There are none yet" in index_of(tmp_path).text


def test_a_row_says_why_and_leads_to_the_page(tmp_path: Path) -> None:
    folder = results.wrong_victim(tmp_path)
    found = report.load(folder)
    row = entry_of(b"20261126-152702-a b-\xff", found, "report.html")
    assert row.why == (
        "wrong victim in course (policy rss): main child 0 died; main child 1 should have, alone"
    )
    assert row.link == "./20261126-152702-a%20b-%FF/report.html"
    assert replace(row, page="").link == "./20261126-152702-a%20b-%FF/"
    assert row.name == "20261126-152702-a b-\\xff"
    assert filters_of([row]) == (
        ("kernel", ("linux-6.1",)),
        ("policy", ("rss",)),
        ("verdict", ("FAIL",)),
    )
    assert ordered([row, replace(row, bytes_name=b"z")])[0] is row


@pytest.mark.parametrize("name", ["20261399-999999-a-b", "x", "20261126-1519-a", ""])
def test_a_name_without_a_time(name: str) -> None:
    assert time_of(name) == ""


# --- the task -------------------------------------------------------------------------------


def test_the_latest_result_is_the_default(tmp_path: Path, ws: Workspace, said: StringIO) -> None:
    results.passing(tmp_path)
    newest = results.oops(tmp_path)
    (tmp_path / LATEST).symlink_to(newest.name)
    written, index = report.run(ws, results=tmp_path)
    assert written == newest / "report.html"
    assert index == tmp_path / "index.html"
    assert f"report: {written}" in said.getvalue()
    assert f"all results: {index}" in said.getvalue()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_latest_of_this_kind_where_another_task_was_later(
    tmp_path: Path, ws: Workspace
) -> None:
    newest = results.passing(tmp_path)
    (tmp_path / "20261127-000000-linux-6.1-fuzz").mkdir()
    (tmp_path / LATEST).symlink_to("20261127-000000-linux-6.1-fuzz")
    assert report.run(ws, results=tmp_path)[0].parent == newest


def test_a_result_by_its_name_or_path(tmp_path: Path, ws: Workspace) -> None:
    folder = results.passing(tmp_path / "a")
    for named in (folder.name, str(folder), f"{folder}/"):
        assert report.run(ws, named, results=tmp_path / "a")[0].parent == folder


def test_a_result_elsewhere_leaves_its_neighbours_alone(tmp_path: Path, ws: Workspace) -> None:
    folder = results.passing(tmp_path / "downloads")
    (tmp_path / "results").mkdir()
    written = report.run(ws, str(folder), results=tmp_path / "results")
    assert written == (folder / "report.html",)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("", "there are no results"),
        ("x", "there is no result 'x'"),
        ("empty", r"has no verdict\.json"),
    ],
)
def test_no_result_is_wrong_usage(tmp_path: Path, ws: Workspace, result: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        report.run(ws, result, results=tmp_path)


@pytest.mark.parametrize("name", ["verdict.json", "kills.json", USAGE, DECISIONS])
def test_a_corrupt_file_is_named_and_nothing_is_written(
    tmp_path: Path, ws: Workspace, name: str
) -> None:
    folder = results.passing(tmp_path)
    (folder / name).write_text('[{"scen')
    with pytest.raises(InfrastructureError, match=rf"cannot be read: {name}") as caught:
        report.run(ws, folder.name, results=tmp_path)
    assert caught.value.exit_status == 3
    assert "\n" not in caught.value.message
    assert not (folder / "report.html").exists()


def test_a_full_disk_leaves_the_old_page(
    tmp_path: Path, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = results.passing(tmp_path)
    before = report.write(folder).read_text()

    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskFullError, match="no space left"):
        report.run(ws, folder.name, results=tmp_path)
    monkeypatch.undo()
    assert (folder / "report.html").read_text() == before


@pytest.mark.parametrize("found", [True, False], ids=["a browser", "no browser"])
def test_open_opens_the_page_if_there_is_a_browser(
    tmp_path: Path, ws: Workspace, said: StringIO, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    folder = results.passing(tmp_path)
    browser = MagicMock(return_value=found)
    monkeypatch.setattr(webbrowser, "open", browser)
    report.run(ws, folder.name, show=True, results=tmp_path)
    browser.assert_called_once_with((folder / "report.html").as_uri())
    assert ("there is no browser here" in said.getvalue()) is not found


def test_the_task_hands_on_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool, Path]] = []

    def run(_ws: object, result: str, *, show: bool, results: Path) -> None:
        seen.append((result, show, results))

    monkeypatch.setattr(report, "run", run)
    tasks.report(context(), result="x", open=True)
    tasks.report(context())
    assert seen == [("x", True, RESULTS), ("", False, RESULTS)]


# --- the end of a run ------------------------------------------------------------------------


def test_a_run_leaves_its_page_and_says_where(
    tmp_path: Path, ws: Workspace, said: StringIO
) -> None:
    folder = results.passing(tmp_path)
    report.leave(folder, ws.reporter)
    assert said.getvalue() == f"report: {folder / 'report.html'}\n"
    assert "./20261126-151935-linux-6.1-rss/report.html" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("error", [InfrastructureError("no\nspace"), ValueError("no\nspace")])
def test_a_page_that_cannot_be_written_is_one_line(
    tmp_path: Path, ws: Workspace, said: StringIO, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(report, "write", fail)
    report.leave(tmp_path, ws.reporter)
    (line,) = said.getvalue().splitlines()
    assert line.startswith("the report was not written: ")
    assert isinstance(error, HarnessError) or "ValueError" in line
