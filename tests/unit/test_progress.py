# SPDX-License-Identifier: MIT
"""What a person sees of long work."""

from __future__ import annotations

import io

import pytest

from harness.progress import PlainConsole, Reporter


def reporter(*, terminal: bool = False) -> tuple[Reporter, io.StringIO]:
    stream = io.StringIO()
    return Reporter(PlainConsole(file=stream, force_terminal=terminal, width=40)), stream


def test_plain_lines_without_a_terminal() -> None:
    told, stream = reporter()
    with told.phase("build kernel") as phase:
        phase.note("CC mm/x.o")
    begin, end = stream.getvalue().splitlines()
    assert begin == "build kernel …"
    assert end.startswith("build kernel: done, 0.")
    assert [name for name, _ in told.phases] == ["build kernel"]


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


def test_a_phase_in_a_phase_on_a_terminal() -> None:
    told, stream = reporter(terminal=True)
    with told.phase("outer") as outer, told.phase("inner") as inner:
        inner.note("[red]not markup")
        outer.note("x")
    assert "inner: done" in stream.getvalue()
    assert "outer: done" in stream.getvalue()


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
