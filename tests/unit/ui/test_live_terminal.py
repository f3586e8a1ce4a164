# SPDX-License-Identifier: MIT
"""The view on a real pseudo-terminal: what remains on it, whatever happens to it meanwhile."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pexpect
import pyte
import pytest
from screens import rewrapped, shown

from harness.core.paths import REPO
from harness.ui.progress import AUTO, MODES

# A run without a machine. It goes on where the file that it waits for is there.
PROGRAM = """
import sys, time
from pathlib import Path
from harness.jobs import cli
from harness.ui.progress import reporter_of
folder = Path(sys.argv[1])
told = reporter_of(sys.argv[2])
def wait(name):
    while not (folder / name).exists():
        time.sleep(0.02)
def work():
    if "full" in sys.argv:
        for number in range(20):
            told.say(f"line {number}")
    with told.phase("build kernel"):
        pass
    with told.phase("scenarios, policy rss, trigger alloc"):
        told.scenario_begin("report", "rss", "alloc", title="as in the report of that year")
        told.usage(10070, 6_000_000, 12_000_000)
        wait("go")
        told.say("a line in the middle")
        try:
            (folder / "waits").touch()
            wait("end")
        finally:
            if "slow" in sys.argv:
                (folder / "cleans").touch()
                wait("cleaned")
    told.result("PASS: nothing")
sys.exit(cli.guarded(work, reporter=lambda: told))
"""
BUILT = r"build kernel: done, \d+\.\d s"
# What stands behind each drawing of the view.
SHOW = "\x1b[?2026l"


class Terminal:
    """A terminal on which the program runs; `wraps` says what it does with its rows."""

    def __init__(
        self, folder: Path, *words: str, columns: int = 80, wraps: bool = True, **env: str
    ) -> None:
        self.folder, self.wraps = folder, wraps
        self.screen = pyte.Screen(columns, 12)
        self.stream = pyte.Stream(self.screen)
        self.output = ""
        self.child = pexpect.spawn(
            sys.executable,
            ["-c", PROGRAM, str(folder), *(words or ("auto",))],
            cwd=str(REPO),
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **env},
            dimensions=(12, columns),
            encoding="utf-8",
            timeout=120,
        )

    def read(self, seconds: float) -> bool:
        """Shows what comes; whether there can be more."""
        try:
            text = self.child.read_nonblocking(1 << 16, timeout=seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.output += text
        self.stream.feed(text)
        return True

    def wait_for(self, seen: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + 120
        while not seen(shown(self.screen)):
            assert time.monotonic() < deadline, shown(self.screen)
            assert self.read(0.05), shown(self.screen)
        return shown(self.screen)

    def wait_for_text(self, text: str) -> list[str]:
        return self.wait_for(lambda rows: any(text in row for row in rows))

    def wait_for_view(self) -> list[str]:
        return self.wait_for_text("6.0/12.0 MB")

    def touch(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def resize(self, columns: int) -> None:
        """First the terminal has changed, then the program is told."""
        if self.wraps:
            self.screen = rewrapped(self.screen, columns)
            self.stream = pyte.Stream(self.screen)
        else:
            self.screen.resize(columns=columns)
        self.child.setwinsize(12, columns)

    def close(self) -> None:
        self.child.close(force=True)

    def end(self, status: int = 0) -> list[str]:
        """What remains when the program has ended with this status."""
        while self.read(0.05):
            pass
        self.child.close()
        assert not self.screen.cursor.hidden
        assert self.child.exitstatus == status
        return shown(self.screen)


def assert_record(rows: list[str], *wanted: str) -> None:
    assert re.fullmatch("\n".join(wanted), "\n".join(rows)), (rows, wanted)


def assert_whole_record(rows: list[str]) -> None:
    assert_record(
        rows,
        BUILT,
        "a line in the middle",
        r"scenarios, policy rss, trigger alloc: done, \d+\.\d s",
        "PASS: nothing",
    )


def go_on(terminal: Terminal) -> list[str]:
    """Has the task end, with a line before that; what is on the terminal then."""
    terminal.touch("go")
    terminal.wait_for_text("a line in the middle")
    terminal.touch("end")
    return terminal.end()


def test_the_record_remains(tmp_path: Path) -> None:
    with closing(Terminal(tmp_path)) as terminal:
        rows = terminal.wait_for_view()
        assert_record(
            rows,
            BUILT,
            r" +0:0\d  1 phase done",
            r" +0:0\d  scenarios, policy rss, trigger alloc",
            r" +0:0\d  report, policy rss: as in the report of that year",
            r"  user 10070 \[#{5}\.{5}\] 6\.0/12\.0 MB",
        )
        assert terminal.screen.cursor.hidden
        assert_whole_record(go_on(terminal))


def test_forty_columns(tmp_path: Path) -> None:
    with closing(Terminal(tmp_path, columns=40)) as terminal:
        rows = terminal.wait_for_view()
        assert len(rows) == 5
        assert rows[3].endswith("…")
        terminal.touch("go", "end")
        rows = terminal.end()
    assert_record(
        rows,
        BUILT,
        "a line in the middle",
        r"scenarios, policy rss, trigger alloc: do",
        r"ne, \d+\.\d s",
        "PASS: nothing",
    )


def is_whole_view(width: int, rows: list[str]) -> bool:
    """Whether the record and the view are there, drawn for this width, and nothing else."""
    return len(rows) == 5 and "6.0/12.0 MB" in rows[4] and all(len(row) < width for row in rows)


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("columns", [[50], [38], [100], [60, 38, 120, 45]])
def test_a_terminal_that_changes_its_size(tmp_path: Path, columns: list[int], wraps: bool) -> None:
    with closing(Terminal(tmp_path, wraps=wraps)) as terminal:
        terminal.wait_for_view()
        for width in columns:
            terminal.resize(width)
            # Drawn anew, and nothing of the old lines is left.
            terminal.wait_for(partial(is_whole_view, width))
        terminal.resize(80)
        assert_whole_record(go_on(terminal))


@pytest.mark.parametrize("wraps", [True, False])
def test_a_view_at_the_lower_end_of_a_terminal_that_changes_its_size(
    tmp_path: Path, wraps: bool
) -> None:
    with closing(Terminal(tmp_path, "auto", "full", wraps=wraps)) as terminal:
        assert terminal.wait_for_view()[:-5] == [f"line {number}" for number in range(13, 20)]
        for width in (38, 90, 45, 80):
            terminal.resize(width)
            rows = terminal.wait_for(lambda rows, w=width: is_whole_view(w, rows[-5:]))  # type: ignore[misc]
            assert [row for row in rows[:-5] if not row.startswith("line ")] == []
        terminal.touch("go", "end")
        *_, last, built, middle, done, result = terminal.end()
    assert last == "line 19"
    assert_whole_record([built, middle, done, result])


def test_ctrl_c_in_the_middle(tmp_path: Path) -> None:
    with closing(Terminal(tmp_path)) as terminal:
        terminal.wait_for_view()
        terminal.child.sendintr()
        rows = terminal.end(130)
    assert_record(
        rows,
        BUILT,
        r"scenarios, policy rss, trigger alloc: stopped after \d+\.\d s",
        "interrupted",
    )


def test_ctrl_c_twice(tmp_path: Path) -> None:
    with closing(Terminal(tmp_path, "auto", "slow")) as terminal:
        terminal.touch("go")
        terminal.wait_for(lambda _: (tmp_path / "waits").exists())
        terminal.child.sendintr()
        # Two that come before the first is taken are one.
        terminal.wait_for(lambda _: (tmp_path / "cleans").exists())
        terminal.child.sendintr()
        terminal.wait_for_text("cleaning up")
        # The view is drawn anew below it.
        drawn = terminal.output.count(SHOW)
        terminal.wait_for(lambda _: terminal.output.count(SHOW) >= drawn + 2)
        terminal.touch("cleaned")
        rows = terminal.end(130)
    assert_record(
        rows,
        BUILT,
        "a line in the middle",
        "cleaning up; once more to leave it undone",
        r"scenarios, policy rss, trigger alloc: stopped after \d+\.\d s",
        "interrupted",
    )


@pytest.mark.parametrize(
    ("mode", "term"),
    [("auto", "dumb"), ("auto", "unknown"), *((mode, "xterm") for mode in MODES if mode != AUTO)],
)
def test_terminals_and_forms_without_a_view(tmp_path: Path, mode: str, term: str) -> None:
    with closing(Terminal(tmp_path, mode, TERM=term)) as terminal:
        terminal.touch("go", "end")
        terminal.end()
    assert "\x1b" not in terminal.output
    lines = terminal.output.splitlines()
    assert lines[0].startswith(
        {"quiet": "PASS: nothing", "json": '{"schema": 1'}.get(mode, "build")
    )
    assert len(lines) == {"quiet": 1, "json": 10}.get(mode, 6)
