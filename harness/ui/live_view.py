# SPDX-License-Identifier: MIT
"""The view on a terminal: lines at the bottom that are updated while a phase runs.

Lasting output is printed above them. The hidden cursor always rests on the first of these lines,
in its first column. So, whatever the terminal does to the lines when its size changes,
everything below the cursor has to be drawn anew, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import ControlType, Segment
from rich.text import Text

from harness.ui.events import Event, PhaseBegin
from harness.ui.live_picture import Picture
from harness.ui.sinks import PlainLines

_REFRESHES_PER_SECOND = 8
# The first code has a terminal hold back what follows, until the second has it shown at once.
# Terminals that do not know these codes ignore them.
_TOGETHER, _SHOW = "\x1b[?2026h", "\x1b[?2026l"
_CUT_LINES, _WRAP_LINES = "\x1b[?7l", "\x1b[?7h"
_ERASE_TO_LINE_END, _ERASE_BELOW = "\x1b[K", "\x1b[J"


class LiveView(PlainLines):
    """Ended phases and messages, line by line, with the current state below them."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._picture = Picture()
        self._live: _Live | None = None
        self._drew = False

    def take(self, event: Event) -> None:
        """Show an event. Passes on the terminal's errors."""
        self._picture.take(event)
        if not isinstance(event, PhaseBegin):
            if not self._picture.busy:
                self._stop()
            super().take(event)
        elif self._live is None:
            self._live, self._drew = _Live(self.console, self._picture.lines), True
            self._live.start()

    def note(self, number: int, text: str) -> None:
        """Show what phase `number` is doing now."""
        self._picture.note(number, text)

    def below(self, number: int, lines: Sequence[str]) -> None:
        """Show lines below the note of phase `number`."""
        self._picture.below(number, lines)

    def close(self) -> None:
        """Remove the live lines; only what was printed remains."""
        self._stop()
        if self._drew:
            # Ctrl-C may have interrupted the drawing.
            self.console.control(_control(_WRAP_LINES))
            self.console.show_cursor(True)

    def _stop(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


Lines = Callable[[int, int], list[Text]]


class _Live(Live):
    """Rich's thread that redraws the lines, and its way to print above them."""

    def __init__(self, console: Console, lines: Lines) -> None:
        super().__init__(console=console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND)
        # Rich's own region moves up by as many lines as it drew, which is wrong if the terminal
        # has wrapped them since; it also erases before it draws.
        self._live_render = _Region(lines)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Erase the lines only if something is printed in their place."""
        if any(not isinstance(one, Control) for one in renderables):
            renderables = [_control(_ERASE_BELOW), *renderables]
        return super().process_renderables(renderables)

    def refresh(self) -> None:
        """Draw the lines. An error of the terminal is ignored here, as the next print raises it."""
        with suppress(OSError):
            super().refresh()


class _Region(LiveRender):
    """The lines, drawn over what was there before."""

    def __init__(self, lines: Lines) -> None:
        super().__init__("")
        self._lines = lines

    @property
    def last_render_height(self) -> int:
        """0 for Rich, which would otherwise step below the lines before it erases them."""
        return 0

    def position_cursor(self) -> Control:
        """Return the codes that move to the first column: typing moves the cursor away from it."""
        return _control(f"{_TOGETHER}\r")

    def restore_cursor(self) -> Control:
        """Return the codes that erase the lines."""
        return _control(f"\r{_ERASE_BELOW}{_WRAP_LINES}{_SHOW}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the lines, and go back to the first one."""
        lines = self._lines(options.size.width, options.size.height)
        yield _segment(_CUT_LINES)
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from Segment.apply_style(line.render(console), console.get_style(line.style))
            yield _segment(_ERASE_TO_LINE_END)
        up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
        yield _segment(f"{_ERASE_BELOW}\r{up}{_WRAP_LINES}{_SHOW}")


def _segment(codes: str) -> Segment:
    # Any control type will do: Rich only has to know that the text is a control and takes no
    # room.
    return Segment(codes, None, [(ControlType.CARRIAGE_RETURN,)])


def _control(codes: str) -> Control:
    control = Control()
    control.segment = _segment(codes)
    return control
