# SPDX-License-Identifier: MIT
"""A log as the page shows it: nothing is lost, what matters is found, and the rest is folded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernel_output.records import lines_of
from harness.kernel_output.reports import find_reports
from harness.report import log as report_log
from harness.report.log import Log, Sort, lines_known, read_log

LOGS = Path(__file__).parents[1] / "kernel_logs"
RECORD = (
    "<3>[    7.37] uid=10070,\tuRSS=100003840,\tmm_max=100000000,\tpid=95,\tpRSS=97226752,"
    "\tpolicy=rss,\ttrigger=alloc,\tcomm=oom_test_kernel"
)
LINES = st.sampled_from(
    [RECORD, "<6>[ 1.0] a", "<13>[ 2.0] goldfish-oom: begin 00", "<1>[ 3.0] BUG: x", "", "\x00\r"]
)


def log(text: str, *reasons: str) -> Log:
    return read_log("L", "Kernel log", text, reasons)


def sorts(found: Log) -> list[str]:
    return [line.sort.value for line in found.lines]


@given(st.lists(LINES, max_size=200))
def test_nothing_is_lost(lines: list[str]) -> None:
    found = log("".join(f"{line}\n" for line in lines))
    shown = [line for block in found.blocks for line in block.lines]
    assert [line.text for line in shown] == [line.rstrip("\r") for line in lines]
    assert [line.number for line in shown] == list(range(1, len(lines) + 1))
    for block in found.blocks:
        assert not block.folded or {line.sort for line in block.lines} == {Sort.ORDINARY}


def test_lines_are_told_apart() -> None:
    found = log(
        "<13>[ 1.0] goldfish-oom: begin 00ff\n"
        f"{RECORD}\n"
        "<6>[ 7.4] uid=10070, mm_max=100000000\n"
        "<4>[ 7.5] page allocation failure: order:0\n"
        "<13>[ 8.0] goldfish-oom: end 00ff\n"
    )
    assert sorts(found) == ["mark", "kill", "", "trouble", "mark"]
    record = found.lines[1].record
    assert record is not None
    assert record.pid == 95
    assert found.places == (("trouble", "L4"), ("kill", "L2"))


def test_what_a_user_writes_is_no_record() -> None:
    assert sorts(log(f"<12>{RECORD[3:]}\n")) == [""]


def test_a_line_that_a_reason_quotes_is_trouble() -> None:
    line = "<4>[    2.5] driver: something odd"
    assert sorts(log(f"{line}\n")) == [""]
    assert sorts(log(f"{line}\n", f"warning: {line}")) == ["trouble"]


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_all_lines_of_a_report_are_marked_and_no_others(path: Path) -> None:
    text = path.read_text()
    found = log(text)
    marked = [line.text for line in found.lines if line.sort is Sort.REPORT]
    reported = [line.rstrip("\r") for one in find_reports(text) for line, _ in lines_of(one.text)]
    assert sorted(marked) == sorted(reported)
    assert [one.title for one in found.reports] == [one.title for one in find_reports(text)]


def test_long_runs_of_nothing_are_folded_with_room_around_the_rest() -> None:
    boot = "".join(f"<6>[ 0.{at}] x\n" for at in range(1200))
    first, second, third, shown = log(f"{boot}{RECORD}\n").blocks
    assert [block.folded for block in (first, second, third, shown)] == [True] * 3 + [False]
    assert [len(block.lines) for block in (first, second)] == [500, 500]
    assert [line.number for line in shown.lines] == list(range(1196, 1202))


def test_of_a_log_without_end_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_log, "MOST_LINES", 100)
    text = (LOGS / "oops-null-6.1.log").read_text()
    found = read_log("L", "Kernel log", "<6>[ 0.1] x\n" * 1000 + text, (), 10)
    assert len(found.lines) == 100
    assert found.left_out == 1000 + text.count("\n") - 10 - 100
    assert found.lines[-1].number == 1000 + text.count("\n")
    (one,) = found.reports
    first = next(line for line in found.lines if line.sort is Sort.REPORT)
    assert one.begin + 1 == first.number


def test_a_short_log_is_not_folded() -> None:
    assert [block.folded for block in log("<6>[ 0.1] x\n" * 40).blocks] == [False, False]


def test_a_console_goes_on_where_the_log_ends() -> None:
    kernel_log = "<6>[    1.0] a\n<6>[    2.0] b\n"
    console = "\n[    1.0] a\n# prompt\n[    2.0] b\n# more\n[    2.5] c\nlast"
    known = lines_known(console, kernel_log)
    found = read_log("C", "Console", console, (), known)
    assert [line.text for line in found.lines] == ["[    2.5] c", "last"]
    assert found.lines[0].number == 6


@pytest.mark.parametrize(
    ("console", "kernel_log", "known"),
    [
        ("", "", 0),
        ("a\nb\n", "", 0),
        ("a\n[  1.0] b\n", "<6>[ 3.0] x\n", 2),
        ("a\n[  4.0] b\n", "<6>[ 3.0] x\n", 1),
    ],
)
def test_how_much_of_a_console_is_known(console: str, kernel_log: str, known: int) -> None:
    assert lines_known(console, kernel_log) == known


def test_a_report_on_the_console_alone_is_found() -> None:
    text = (LOGS / "oops-null-6.1.log").read_text()
    console = "".join(f"{line.partition('>')[2]}\n" for line in text.splitlines())
    assert read_log("C", "Console", console, (), 3).reports
