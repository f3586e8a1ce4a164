# SPDX-License-Identifier: MIT
"""The outputs for events, one class per form: plain lines, next to nothing, or JSON."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console

from harness.core.cache import disk_full_named
from harness.ui.events import SCHEMA, Event, Line, Message, PhaseBegin, PhaseEnd, encode

# A file or a CI log has no width; tables get room for all their columns.
_WIDTH_ELSEWHERE = 140


class PlainConsole(Console):
    """Rich's console, to which a closed pipe is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Pass BrokenPipeError on; Rich would exit with 1, which means a failed test here."""
        raise


def standard_console() -> Console:
    """Return the console of stdout, wide enough for tables if it is not a terminal."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    # With FORCE_COLOR, Rich takes every file for a terminal; the variable is only to add
    # colours.
    console = PlainConsole(force_interactive=None if terminal else False)
    if not terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_ELSEWHERE
    return console


class Sink:
    """An output to which a Reporter passes its events, one at a time; tables go to `console`.

    By default it does nothing.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def take(self, event: Event) -> None:
        """Show an event, if this form shows it."""

    def note(self, number: int, text: str) -> None:
        """Show what phase `number` is doing now; a line for each note would be too many."""

    def below(self, number: int, lines: Sequence[str]) -> None:
        """Show lines below the note of phase `number`, in place of the last ones."""

    def close(self) -> None:
        """Leave the output as another program expects to find it."""


def print_line(console: Console, text: str) -> None:
    """Print one line (or several) as it is."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


class PlainLines(Sink):
    """Phases and messages, line by line: for CI, a pipe, and a simple terminal."""

    def take(self, event: Event) -> None:
        """Print what is for a person."""
        if isinstance(event, PhaseBegin):
            print_line(self.console, f"{event.name} …")
        elif isinstance(event, PhaseEnd):
            done = "up to date," if event.cached else "done,"
            how = "stopped after" if event.stopped else done
            print_line(self.console, f"{event.name}: {how} {event.seconds:.1f} s")
        elif isinstance(event, Message):
            print_line(self.console, event.text)


class Quiet(Sink):
    """Only the result that the task was started for. Errors go to stderr anyway."""

    def __init__(self, console: Console) -> None:
        # This console discards the tables.
        super().__init__(PlainConsole(quiet=True))
        self._loud = console

    def take(self, event: Event) -> None:
        """Print a result."""
        if isinstance(event, Message) and event.result:
            print_line(self._loud, event.text)


class JsonLines(Sink):
    """Every event as a line of JSON, flushed at once; the first line has the schema.

    What is printed to `console` (a table) is passed to `say`, which has to bring it back as a
    message. Raises the stream's errors, and DiskFullError.
    """

    def __init__(self, say: Callable[[str], None], stream: TextIO | None = None) -> None:
        console = PlainConsole(
            file=_Prints(say), width=_WIDTH_ELSEWHERE, no_color=True, force_terminal=False
        )
        super().__init__(console)
        self._stream = stream
        self._schema: int | None = SCHEMA

    def take(self, event: Event) -> None:
        """Write an event."""
        stream = self._stream or sys.stdout
        text = encode(Line(event, time.time(), self._schema))
        self._schema = None
        with disk_full_named(Path("standard output")):
            stream.write(f"{text}\n")
            stream.flush()


class _Prints(io.StringIO):
    """A file that passes each write, which is the whole of a print, to `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def write(self, text: str) -> int:
        """Pass `text` to `say`."""
        if text.strip():
            self._say(text.strip("\n"))
        return len(text)
