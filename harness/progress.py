# SPDX-License-Identifier: MIT
"""What a person sees while something takes long: phases, times, progress.

On a terminal a live line with a spinner; elsewhere (CI, a pipe) one plain line
when a phase starts and one when it ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.status import Status

# A file or a CI log has no width; tables get room for all their columns.
_WIDTH_ELSEWHERE = 140


class PlainConsole(Console):
    """Rich's console, except that a reader that went away is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Passes BrokenPipeError on; Rich would exit with 1, which means a failed test here."""
        raise


def standard_console() -> Console:
    """The console of stdout, wide enough for tables where it is not a terminal."""
    console = PlainConsole()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_ELSEWHERE
    return console


@dataclass
class Phase:
    """One running phase; `note` says in a few words what it is doing now."""

    name: str
    status: Status | None = None
    cached: bool = False

    def note(self, text: str) -> None:
        """Shows `text` behind the phase's name, on a terminal only."""
        if self.status is not None:
            self.status.update(f"{escape(self.name)}: {escape(text[:100])}")

    def mark_cached(self) -> None:
        """Says that there was nothing to do."""
        self.cached = True


@dataclass
class Reporter:
    """Prints to `console`, and keeps the time of each phase, in seconds."""

    console: Console = field(default_factory=standard_console)
    phases: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """A phase of the work: its begin, its end and its time are shown."""
        started = time.monotonic()
        phase = Phase(name)
        try:
            if self.console.is_terminal:
                with self.console.status(escape(name)) as phase.status:
                    yield phase
            else:
                self.say(f"{name} …")
                yield phase
        except BaseException:
            self.say(f"{name}: stopped after {time.monotonic() - started:.1f} s")
            raise
        seconds = time.monotonic() - started
        self.phases.append((name, seconds))
        self.say(f"{name}: {'up to date' if phase.cached else 'done'}, {seconds:.1f} s")

    def say(self, text: str) -> None:
        """One line for the person, as it is."""
        self.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
