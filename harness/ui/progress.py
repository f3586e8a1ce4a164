# SPDX-License-Identifier: MIT
"""What the user sees of a long task: phases, scenarios, kills, messages.

On a terminal this is a live view; elsewhere (CI, a pipe) it is plain lines. JSON, or next to
nothing, is shown on request.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console

from harness.core.errors import EXIT_PASSED, UsageError
from harness.core.text import public
from harness.kernel_output.records import KillRecord
from harness.ui import events
from harness.ui.events import CellEnd, Event, Planned, ScenarioEnd
from harness.ui.live_view import LiveView
from harness.ui.sinks import JsonLines, PlainConsole, PlainLines, Quiet, Sink, standard_console

__all__ = ["JSON", "MODES", "Phase", "PlainConsole", "Reporter", "reporter_of", "standard_console"]

# A view on a terminal and plain lines elsewhere; always plain lines; only the last line; JSON.
MODES = (AUTO, PLAIN, QUIET, JSON) = ("auto", "plain", "quiet", "json")


@dataclass
class Phase:
    """One running phase; on a terminal `note` shows in a few words what it is doing now.

    `below` shows lines below that, in place of the last ones.
    """

    note: Callable[[str], None]
    below: Callable[[Sequence[str]], None]
    cached: bool = False

    def mark_cached(self) -> None:
        """Record that there was nothing to do."""
        self.cached = True


class Reporter:
    """The receiver of events from any thread; it passes them on one after the other.

    `phases` has the names and seconds of the phases that were completed. An event outside a run
    begins a run of its own, with the command line `command`.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        mode: str = AUTO,
        command: Sequence[str] = (),
    ) -> None:
        self.phases: list[tuple[str, float]] = []
        self._lock = threading.RLock()
        self._sink = self._sink_of(mode, console)
        self._command = tuple(command)
        self._begun = 0
        self._running = False
        self._result, self._results = "", ""
        self.is_json = mode == JSON

    def _sink_of(self, mode: str, console: Console | None) -> Sink:
        if mode == JSON:
            return JsonLines(self.say)
        console = console or standard_console()
        if mode == QUIET:
            return Quiet(console)
        return LiveView(console) if mode == AUTO and console.is_interactive else PlainLines(console)

    @property
    def console(self) -> Console:
        """The console for tables; for a line of text use `say`."""
        return self._sink.console

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Show a phase of the work: its begin, its end and its duration."""
        started = time.monotonic()
        with self._lock:
            self._begun += 1
            number = self._begun
        phase = Phase(
            lambda text: self._sink.note(number, text), lambda more: self._sink.below(number, more)
        )
        try:
            self._tell(events.PhaseBegin(number, name))
            yield phase
        except BaseException:
            self._tell(events.PhaseEnd(number, name, time.monotonic() - started, stopped=True))
            raise
        seconds = time.monotonic() - started
        with self._lock:
            self.phases.append((name, seconds))
        self._tell(events.PhaseEnd(number, name, seconds, phase.cached))

    def say(self, text: str) -> None:
        """Show one line to the user, as it is."""
        self._tell(events.Message(text))

    def result(self, text: str, results: Path | None = None) -> None:
        """Show the line that the task was started for; `results` is the folder with the rest."""
        with self._lock:
            self._tell(events.Message(text, result=True))
            self._result, self._results = text, "" if results is None else str(results)

    def run_begin(
        self,
        command: Sequence[str],
        *,
        kernel: str = "",
        policy: str = "",
        trigger: str = "",
        planned: Sequence[Planned] = (),
    ) -> None:
        """Begin a run; one that was going on counts as passed."""
        self._tell(events.RunBegin(_public(command), kernel, policy, trigger, tuple(planned)))

    def scenario_begin(
        self, scenario: str, policy: str, trigger: str, *, guest: int = 1, title: str = ""
    ) -> None:
        """Report that a guest, counted from 1, begins a scenario."""
        self._tell(events.ScenarioBegin(scenario, policy, trigger, guest, title))

    def scenario_end(self, end: ScenarioEnd, records: Sequence[KillRecord] = ()) -> None:
        """Report that a scenario was judged, after the kills that it had."""
        with self._lock:
            for record in records:
                self.kill(record, end.scenario, guest=end.guest)
            self._tell(end)

    def kill(self, record: KillRecord, scenario: str = "", *, guest: int = 1) -> None:
        """Report a kill record that a guest's kernel wrote."""
        self._tell(events.Kill(record, scenario, guest))

    def usage(self, uid: int, rss: int, mm_max: int | None, *, guest: int = 1) -> None:
        """Report a sample: a user's memory on a guest, and its limit, in bytes."""
        self._tell(events.Usage(uid, rss, mm_max, guest))

    def cell_begin(self, cell: str, worker: str, command: Sequence[str]) -> None:
        """Report that a worker begins a cell of a sweep."""
        self._tell(events.CellBegin(cell, worker, _public(command)))

    def cell_end(self, end: CellEnd) -> None:
        """Report that a cell has ended, with or without a verdict."""
        self._tell(end)

    def error(
        self, what: str, *, hint: str = "", status: int, log: Path | None = None, tail: str = ""
    ) -> None:
        """Report what ends the run; the caller also prints it on stderr for the user."""
        self._tell(events.Error(what, hint, status, "" if log is None else str(log), tail))

    def close(self, status: int) -> None:
        """End the output; the run ends with this exit status."""
        with self._lock:
            try:
                self._begin()
                self._end(status)
            finally:
                self._sink.close()

    def _tell(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, events.RunBegin):
                # A task that follows another one: that one has passed.
                self._end(EXIT_PASSED)
                self._running = True
            else:
                self._begin()
            self._sink.take(event)

    def _begin(self) -> None:
        if not self._running:
            self._running = True
            self._sink.take(events.RunBegin(_public(self._command)))

    def _end(self, status: int) -> None:
        if self._running:
            self._running = False
            event = events.RunEnd(self._result, status, self._results)
            self._result, self._results = "", ""
            self._sink.take(event)


def _public(command: Sequence[str]) -> tuple[str, ...]:
    """Return the command without passwords: others may read the stream, such as in CI."""
    return tuple(public(word) for word in command)


@cache
def reporter_of(mode: str) -> Reporter:
    """Return this process's reporter, as there is one stdout; UsageError for an unknown mode."""
    if mode not in MODES:
        raise UsageError(f"no output is called {mode!r}", hint=f"one of: {', '.join(MODES)}")
    return Reporter(mode=mode, command=("./inv", *sys.argv[1:]))
