# SPDX-License-Identifier: MIT
"""The state of a run, as lines for a terminal of any size. Pure but for the clock.

A line leaves at least the last column free: a terminal may begin a new line when that column is
filled.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from harness.core.text import visible
from harness.kernel_output.records import escape
from harness.ui.events import (
    Event,
    Kill,
    PhaseBegin,
    PhaseEnd,
    RunBegin,
    ScenarioBegin,
    ScenarioEnd,
    Usage,
)

_MOST_KILLS = 3
_MOST_USERS = 6
_BAR = 10
_LEAST_BAR = 4
_MB = 1_000_000


@dataclass
class _Running:
    """A phase that is running."""

    name: str
    since: float
    note: str = ""
    below: tuple[str, ...] = ()


class Picture:
    """The state of a run, from its events. Threads may call `take` and `lines` at the same time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Held only while the fields below are read or written.
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._since = self._clock()
        self._done = self._judged = self._planned = 0
        self._phases: dict[int, _Running] = {}
        self._scenarios: dict[int, tuple[ScenarioBegin, float]] = {}
        self._users: dict[tuple[int, int], Usage] = {}
        self._kills: deque[Kill] = deque(maxlen=_MOST_KILLS)
        self._guests: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether a phase is running."""
        with self._lock:
            return bool(self._phases)

    def take(self, event: Event) -> None:
        """Update the state from an event."""
        with self._lock:
            match event:
                case RunBegin():
                    self._forget()
                    self._planned = len(event.planned)
                case PhaseBegin():
                    self._phases[event.number] = _Running(event.name, self._clock())
                case PhaseEnd():
                    self._phases.pop(event.number, None)
                    self._done += not event.stopped
                case ScenarioBegin():
                    self._guests.add(event.guest)
                    self._scenarios[event.guest] = (event, self._clock())
                    self._drop_users(event.guest)
                case ScenarioEnd():
                    self._judged += 1
                    self._scenarios.pop(event.guest, None)
                    self._drop_users(event.guest)
                case Usage():
                    self._guests.add(event.guest)
                    self._users[event.guest, event.uid] = event
                case Kill():
                    self._guests.add(event.guest)
                    self._kills.append(event)

    def note(self, number: int, text: str) -> None:
        """Record what phase `number` is doing now."""
        with self._lock:
            if number in self._phases:
                self._phases[number].note = text

    def below(self, number: int, lines: Sequence[str]) -> None:
        """Record lines to show below what phase `number` is doing."""
        with self._lock:
            if number in self._phases:
                self._phases[number].below = tuple(lines)

    def _drop_users(self, guest: int) -> None:
        """Forget the guest's users: their memory says nothing about the next scenario's users."""
        self._users = {key: value for key, value in self._users.items() if key[0] != guest}

    def lines(self, width: int, height: int) -> list[Text]:
        """Return the lines for a terminal of `width` columns and `height` rows.

        One row is left for what is printed above. If there are too few rows, users are dropped
        first, then kills, then phases.
        """
        with self._lock:
            if not self._phases:
                return []
            top = [*self._head(), *self._phase_lines(), *self._scenario_lines()]
            top = top[: max(height - 1, 1)]
            room = max(height - 1 - len(top), 0)
            kills = [self._kill_line(one) for one in self._kills][max(len(self._kills) - room, 0) :]
            users = self._user_lines(width, room - len(kills))
        found = [*top, *users, *kills]
        for line in found:
            line.truncate(max(width - 1, 1), overflow="ellipsis")
        return found

    def _head(self) -> list[Text]:
        """Return the line that says how far the run is, or none if there is nothing to say yet."""
        parts = [f"{self._done} phase{'s' * (self._done != 1)} done"] if self._done else []
        parts += [f"{self._judged} of {self._planned} judged"] if self._planned else []
        return [self._timed(self._since, ", ".join(parts), "dim")] if parts else []

    def _phase_lines(self) -> list[Text]:
        found = []
        for one in self._phases.values():
            text = f"{one.name}: {one.note}" if one.note else one.name
            found.append(self._timed(one.since, text, "bold"))
            found += [Text(f"{'':9}{visible(line)}") for line in one.below]
        return found

    def _scenario_lines(self) -> list[Text]:
        found = []
        for guest, (one, since) in sorted(self._scenarios.items()):
            policy = f", policy {one.policy}" if one.policy else ""
            title = f": {one.title}" if one.title else ""
            found.append(self._timed(since, f"{self._on(guest)}{one.scenario}{policy}{title}"))
        return found

    def _user_lines(self, width: int, most: int) -> list[Text]:
        """Return lines for the users nearest to their limits, in the order of guests and users."""
        users, most = sorted(self._users), min(most, _MOST_USERS)
        if not most:
            return []
        if len(users) <= most:
            return [self._user_line(self._users[key], width) for key in users]
        nearest = sorted(users, key=lambda key: -_share(self._users[key]))[: most - 1]
        lines = [self._user_line(self._users[key], width) for key in sorted(nearest)]
        return [*lines, Text(f"  … and {len(users) - len(nearest)} more users", "dim")]

    def _user_line(self, one: Usage, width: int) -> Text:
        over = one.mm_max is not None and one.rss > one.mm_max
        who = f"  {self._on(one.guest) or 'user '}{one.uid} "
        if one.mm_max is None:
            return Text(f"{who}{_mb(one.rss)} MB, no limit")
        what = f"{_mb(one.rss)}/{_mb(one.mm_max)} MB{', over' if over else ''}"
        # A bar has brackets around it, and a space after it.
        room = min(_BAR, width - 1 - cell_len(who + what) - 3)
        bar = f"{_bar(_share(one), room)} " if room >= _LEAST_BAR else ""
        return Text(f"{who}{bar}{what}", "red" if over else "")

    def _kill_line(self, one: Kill) -> Text:
        record = one.record
        name = f" ({escape(record.comm)})" if record.comm else ""
        word = "would kill" if record.dry_run else "killed"
        text = f"user {record.uid} at {_mb(record.user_rss)} MB, {word} {record.pid}{name}"
        policy = f", policy {record.policy}" if record.policy else ""
        return Text(visible(f"  {self._on(one.guest)}{text}, {_mb(record.rss)} MB{policy}"))

    def _on(self, guest: int) -> str:
        """Return the guest's label if there are several guests, else an empty text."""
        return f"guest {guest}: " if self._guests - {1} else ""

    def _timed(self, since: float, text: str, style: str = "") -> Text:
        return Text(f"{_elapsed(self._clock() - since):>7}  {visible(text)}", style)


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _mb(size: int) -> str:
    return f"{size / _MB:.1f}"


def _share(one: Usage) -> float:
    return one.rss / max(one.mm_max, 1) if one.mm_max is not None else 0.0


def _bar(share: float, width: int) -> str:
    # Full only at the limit.
    filled = max(0, min(int(share * width), width))
    return f"[{'#' * filled}{'.' * (width - filled)}]"
