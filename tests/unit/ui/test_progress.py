# SPDX-License-Identifier: MIT
"""What a person or a program is told of long work: as plain lines, as the last line, as JSON."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from example_events import RECORD
from rich.table import Table

from harness.core.errors import DiskFullError
from harness.core.paths import REPO
from harness.ui import events
from harness.ui.events import Event, Planned, ScenarioEnd, decode
from harness.ui.progress import MODES, PlainConsole, Reporter, reporter_of, standard_console
from harness.ui.sinks import JsonLines

END = ScenarioEnd("report", "rss", "alloc", "NOT_KILLED", False, ("nobody died",), 1.5, guest=2)


def reporter() -> tuple[Reporter, io.StringIO]:
    stream = io.StringIO()
    return Reporter(PlainConsole(file=stream, width=40)), stream


def test_what_was_there_already_is_called_so() -> None:
    told, stream = reporter()
    with told.phase("x") as phase:
        phase.mark_cached()
    assert "x: up to date" in stream.getvalue()


def test_a_failed_phase_is_not_called_done() -> None:
    told, stream = reporter()
    with pytest.raises(KeyboardInterrupt), told.phase("x"):
        raise KeyboardInterrupt
    assert "x: stopped after" in stream.getvalue()
    assert told.phases == []


def test_lines_are_neither_wrapped_nor_interpreted() -> None:
    told, stream = reporter()
    line = "[bold]" + "x" * 100 + " 1234 " + "y" * 100
    told.say(line)
    assert stream.getvalue() == line + "\n"


def test_a_reader_that_went_away_is_an_error_that_can_be_caught() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Reporter(PlainConsole(file=Gone())).say("x")


# --- what there is besides phases and lines ---------------------------------------------


def tell_everything(told: Reporter) -> None:
    """Every method once."""
    told.run_begin(
        ["./inv", "x", "https://me:secret@example.org/x"],
        kernel="k",
        policy="rss",
        trigger="alloc",
        planned=[Planned("rss", "report")],
    )
    with told.phase("scenarios") as phase:
        phase.note("note")
        told.scenario_begin("report", "rss", "alloc", guest=2, title="a title")
        told.usage(10070, 1, 2, guest=2)
        told.scenario_end(END, [RECORD])
    table = Table("a column", title="A title")
    table.add_row("a cell")
    told.console.print(table)
    told.say("a line")
    told.result("FAIL: a reason", Path("results/x"))
    told.error("what", hint="hint", status=3, log=Path("a.log"), tail="tail")
    told.close(1)


def test_plain_lines_are_of_phases_and_messages() -> None:
    told, stream = reporter()
    tell_everything(told)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "scenarios …"
    assert lines[1].startswith("scenarios: done, 0.")
    assert lines[-2:] == ["a line", "FAIL: a reason"]
    assert "a cell" in stream.getvalue()
    assert len(lines) == 4 + 6
    assert [name for name, _ in told.phases] == ["scenarios"]


def test_quiet_is_the_last_line() -> None:
    stream = io.StringIO()
    tell_everything(Reporter(PlainConsole(file=stream), mode="quiet"))
    assert stream.getvalue() == "FAIL: a reason\n"


def test_forced_colour_does_not_make_a_terminal_of_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    console = standard_console()
    with Reporter(console).phase("x"):
        pass
    assert console.width == 140
    assert capsys.readouterr().out.startswith("x …\n")


# --- JSON -------------------------------------------------------------------------------


def events_of(work: Callable[[Reporter], object]) -> list[Event]:
    """What `work` tells as JSON; only the first line has the schema."""
    stream = io.StringIO()
    with redirect_stdout(stream):
        work(Reporter(mode="json", command=["./inv", "task"]))
    lines = [decode(line) for line in stream.getvalue().splitlines()]
    assert [line.schema for line in lines] == [1, *[None] * (len(lines) - 1)]
    assert all(abs(line.at - time.time()) < 600 for line in lines)
    return [line.event for line in lines]


def test_json_has_every_event() -> None:
    found = events_of(tell_everything)
    end = found[6]
    assert isinstance(end, events.PhaseEnd)
    table = found[7]
    assert isinstance(table, events.Message)
    assert "a cell" in table.text
    assert found == [
        events.RunBegin(
            ("./inv", "x", "https://example.org/x"),
            "k",
            "rss",
            "alloc",
            (Planned("rss", "report"),),
        ),
        events.PhaseBegin(1, "scenarios"),
        events.ScenarioBegin("report", "rss", "alloc", 2, "a title"),
        events.Usage(10070, 1, 2, 2),
        events.Kill(RECORD, "report", 2),
        END,
        events.PhaseEnd(1, "scenarios", end.seconds),
        events.Message(table.text),
        events.Message("a line"),
        events.Message("FAIL: a reason", result=True),
        events.Error("what", "hint", 3, "a.log", "tail"),
        events.RunEnd("FAIL: a reason", 1, "results/x"),
    ]


def test_what_is_told_outside_a_run_begins_one() -> None:
    def work(told: Reporter) -> None:
        told.result("first")
        told.run_begin(["./inv", "second"])
        told.close(3)

    assert events_of(work) == [
        events.RunBegin(("./inv", "task")),
        events.Message("first", result=True),
        events.RunEnd("first", 0),
        events.RunBegin(("./inv", "second")),
        events.RunEnd("", 3),
    ]


def test_a_task_that_said_nothing_is_a_run() -> None:
    found = events_of(lambda told: told.close(0))
    assert found == [events.RunBegin(("./inv", "task")), events.RunEnd("", 0)]


def test_every_line_is_flushed() -> None:
    class Counting(io.StringIO):
        flushed: list[int]

        def flush(self) -> None:
            self.flushed.append(self.getvalue().count("\n"))

    stream = Counting()
    stream.flushed = []
    with redirect_stdout(stream):
        tell_everything(Reporter(mode="json"))
    assert stream.flushed == list(range(1, 13))


def test_a_full_disk_is_named() -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match="holds standard output"):
        JsonLines(lambda _: None, Full()).take(events.Message("x"))


# --- threads ----------------------------------------------------------------------------

THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from harness.ui.progress import Reporter
told = Reporter(mode=sys.argv[1])
def work(number):
    for turn in range(300):
        told.say(f"begin {number} " + "x" * 3000 + f" {number} end")
        if turn % 50 == 0:
            with told.phase(f"phase {number}") as phase:
                phase.note("note")
with ThreadPoolExecutor(3) as pool:
    list(pool.map(work, range(3)))
told.close(0)
"""


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_lines_of_threads_are_whole(mode: str) -> None:
    # Through a pipe, whose room is less than what is written.
    done = subprocess.run(
        [sys.executable, "-c", THREADS, mode],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = done.stdout.splitlines()
    if mode == "json":
        messages = [decode(line).event for line in lines]
        lines = [one.text for one in messages if isinstance(one, events.Message)]
    said = [line for line in lines if "x" in line]
    wanted = [f"begin {n} {'x' * 3000} {n} end" for n in range(3) for _ in range(300)]
    assert sorted(said) == wanted
    assert done.stderr == ""


def test_phases_of_threads_are_told_apart() -> None:
    both = threading.Barrier(2)

    def work(told: Reporter) -> None:
        def boot(_number: int) -> None:
            with told.phase("boot"):
                both.wait(120)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(boot, range(2)))

    found = events_of(work)
    begun = [event.number for event in found if isinstance(event, events.PhaseBegin)]
    assert sorted(begun) == [1, 2]
    assert sorted(event.number for event in found if isinstance(event, events.PhaseEnd)) == [1, 2]


# --- which form -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_one_reporter_for_one_stdout(mode: str) -> None:
    assert reporter_of(mode) is reporter_of(mode)
