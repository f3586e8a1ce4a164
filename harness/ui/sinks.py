# SPDX-License-Identifier: MIT
"""Where events go, one class per form: plain lines, next to nothing, or JSON."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console

from harness.core.cache import disk_full_named
from harness.ui.events import SCHEMA, Event, Line, Message, PhaseBegin, PhaseEnd, encode

# A file or a CI log has no width; tables get room for all their columns.
_WIDTH_ELSEWHERE = 140


class PlainConsole(Console):
    """Rich's console, except that a reader that went away is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Passes BrokenPipeError on; Rich would exit with 1, which means a failed test here."""
        raise


def standard_console() -> Console:
    """The console of stdout, wide enough for tables where it is not a terminal."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    # FORCE_COLOR makes a terminal of every file; colours are all that it is to give.
    console = PlainConsole(force_interactive=None if terminal else False)
    if not terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_ELSEWHERE
    return console


class Sink(Protocol):
    """What a Reporter hands its events to, one at a time."""

    @property
    def console(self) -> Console:
        """For tables."""

    def take(self, event: Event) -> None:
        """Shows an event, if it is for this form."""

    def note(self, number: int, text: str) -> None:
        """What phase `number` is doing now, in a few words."""

    def close(self) -> None:
        """Leaves the output as another program would want to find it."""


def print_line(console: Console, text: str) -> None:
    """One line (or several), as it is."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def phase_line(event: PhaseEnd) -> str:
    """What remains of a phase."""
    if event.stopped:
        return f"{event.name}: stopped after {event.seconds:.1f} s"
    return f"{event.name}: {'up to date' if event.cached else 'done'}, {event.seconds:.1f} s"


class PlainLines:
    """Phases and messages, line by line: for CI, a pipe, and a terminal that can do no more."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def take(self, event: Event) -> None:
        """Prints what is for a person."""
        if isinstance(event, PhaseBegin):
            print_line(self.console, f"{event.name} …")
        elif isinstance(event, PhaseEnd):
            print_line(self.console, phase_line(event))
        elif isinstance(event, Message):
            print_line(self.console, event.text)

    def note(self, number: int, text: str) -> None:
        """Nothing: a line for each would be too many."""

    def close(self) -> None:
        """Nothing: every line is out."""


class Quiet:
    """Only what the task was started for: its last line. Errors are told on stderr anyhow."""

    def __init__(self, console: Console) -> None:
        # Tables are printed to this one.
        self.console: Console = PlainConsole(quiet=True)
        self._loud = console

    def take(self, event: Event) -> None:
        """Prints a result."""
        if isinstance(event, Message) and event.result:
            print_line(self._loud, event.text)

    def note(self, number: int, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class JsonLines:
    """Every event as a line of JSON, written out at once; the first one has the schema.

    What is printed to `console` (a table) is handed to `say`, which is to bring it
    back as a message. Raises what the stream raises, and DiskFullError.
    """

    def __init__(self, say: Callable[[str], None], stream: TextIO | None = None) -> None:
        self.console: Console = PlainConsole(
            file=_Prints(say), width=_WIDTH_ELSEWHERE, no_color=True, force_terminal=False
        )
        self._stream = stream
        self._schema: int | None = SCHEMA

    def take(self, event: Event) -> None:
        """Writes it."""
        stream = self._stream or sys.stdout
        text = encode(Line(event, time.time(), self._schema))
        self._schema = None
        with disk_full_named(Path("standard output")):
            stream.write(f"{text}\n")
            stream.flush()

    def note(self, number: int, text: str) -> None:
        """Nothing: a line for each would be too many."""

    def close(self) -> None:
        """Nothing: every line is out."""


class _Prints(io.StringIO):
    """A file whose writes, each the whole of a print, are said."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def write(self, text: str) -> int:
        """Says `text`."""
        if text.strip():
            self._say(text.strip("\n"))
        return len(text)
