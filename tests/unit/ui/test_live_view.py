# SPDX-License-Identifier: MIT
"""The view on a terminal: what is drawn, and what remains of it."""

from __future__ import annotations

import io
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.table import Table
from screens import screen_of, shown

from harness.ui import live_view
from harness.ui.progress import PlainConsole, Reporter

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def _many_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_view, "_REFRESHES_PER_SECOND", 50)


class Terminal:
    """A reporter on a terminal of a fixed size."""

    def __init__(self, width: int = 40, height: int = 12, **environment: str) -> None:
        self.stream = io.StringIO()
        self.width, self.height = width, height
        self.console = PlainConsole(
            file=self.stream,
            force_terminal=True,
            width=width,
            height=height,
            _environ={"TERM": "xterm-256color", **environment},
        )
        self.told = Reporter(self.console)

    def drawn(self) -> None:
        """Waits for a drawing that knows all that was told before."""
        # The next one may have begun already.
        wanted = self.frames + 2
        deadline = time.monotonic() + 120
        while self.frames < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    @property
    def frames(self) -> int:
        return self.stream.getvalue().count("\x1b[?2026l")

    def show(self) -> list[str]:
        return shown(screen_of(self.stream.getvalue(), self.width, self.height))


def test_the_view_goes_and_the_record_remains() -> None:
    terminal = Terminal()
    with terminal.told.phase("build kernel") as phase:
        phase.note("CC mm/x.o")
        terminal.drawn()
        assert terminal.show() == ["   0:00  build kernel: CC mm/x.o"]
        terminal.told.say("a line")
        assert terminal.show() == ["a line", "   0:00  build kernel: CC mm/x.o"]
    line, end = terminal.show()
    assert line == "a line"
    assert re.fullmatch(r"build kernel: done, 0\.\d s", end)
    screen = screen_of(terminal.stream.getvalue(), 40, 12)
    assert not screen.cursor.hidden
    assert (screen.cursor.x, screen.cursor.y) == (0, 2)


def test_it_is_drawn_over_and_not_erased_first() -> None:
    terminal = Terminal()
    with terminal.told.phase("x"):
        terminal.drawn()
        terminal.drawn()
        drawn = terminal.stream.getvalue()
    frames = drawn.split("\x1b[?2026h")[1:]
    assert len(frames) >= 3
    for frame in frames:
        assert frame.startswith("\r\x1b[?7l")
        # Nothing is erased but what is behind the text.
        assert frame.index("x") < frame.index("\x1b[K") < frame.index("\x1b[J")
        assert frame.endswith("\x1b[?7h\x1b[?2026l")


def test_lines_that_go_leave_nothing_behind() -> None:
    terminal = Terminal()
    with terminal.told.phase("outer"):
        with terminal.told.phase("an inner phase with a name"):
            terminal.drawn()
        terminal.drawn()
        inner, head, outer = terminal.show()
    assert inner.startswith("an inner phase with a name: done")
    assert (head, outer) == ("   0:00  1 phase done", "   0:00  outer")


def test_a_table_and_a_long_line_stand_above() -> None:
    terminal = Terminal(width=30)
    with terminal.told.phase("x"):
        table = Table("a", "b")
        table.add_row("1", "[red]2")
        terminal.console.print(table)
        terminal.told.say("y" * 50)
        rows = terminal.show()
    assert rows[-3:] == ["y" * 30, "y" * 20, "   0:00  x"]
    assert any("1" in row and "2" in row for row in rows[:-3])


def test_no_colour_where_none_is_wanted() -> None:
    terminal = Terminal(NO_COLOR="1")
    with terminal.told.phase("x"):
        terminal.told.usage(10070, 3, 2)
        terminal.drawn()
        assert terminal.show()[1] == "  user 10070 [#######] 0.0/0.0 MB, over"
    colours = [code for code in ESCAPES.findall(terminal.stream.getvalue()) if code[-1] == "m"]
    assert not any(re.search(r"[\[;](3[0-7]|9[0-7]|38)[;m]", code) for code in colours)


def test_phases_in_threads_share_the_view() -> None:
    terminal = Terminal()
    both = threading.Barrier(2)

    def boot(number: int) -> None:
        with terminal.told.phase(f"boot {number}"):
            both.wait(120)
            for turn in range(50):
                terminal.told.say(f"{number} {turn}")
            both.wait(120)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(boot, (1, 2)))
    drawn = terminal.stream.getvalue().replace("\x1b[?2026h", "\n")
    text = ESCAPES.sub("", drawn).replace("\r", "")
    said = re.findall(r"^[12] \d+$", text, re.MULTILINE)
    assert sorted(said) == sorted(f"{n} {turn}" for n in (1, 2) for turn in range(50))
    rows = terminal.show()
    assert sorted(row[:12] for row in rows[-2:]) == ["boot 1: done", "boot 2: done"]


def test_a_terminal_that_went_away_is_found_by_who_prints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone(io.StringIO):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(5, "Input/output error")
            return super().write(text)

    stream = Gone()
    told = Reporter(PlainConsole(file=stream, force_terminal=True, _environ={"TERM": "xterm"}))
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    def work() -> None:
        with told.phase("x"):
            time.sleep(0.1)
            stream.gone = True
            time.sleep(0.1)
            told.say("y")

    with pytest.raises(OSError, match="Input/output"):
        work()
    assert failures == []
