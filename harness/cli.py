# SPDX-License-Identifier: MIT
"""The edge between the harness and whoever started it: errors, signals, exit status."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from harness.errors import (
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_PASSED,
    HarnessError,
)

if TYPE_CHECKING:
    # `./inv --list` should not wait for it.
    from harness.progress import Reporter

# What a shell reports for a program that a signal ended.
_SIGNALLED = 128
# The first asks for an end, the second finds the harness cleaning up, and
# whoever sends a third wants out at once.
_IMPATIENT = 3


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; like KeyboardInterrupt, it passes every `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StatusError(Exception):
    """A task that explained itself already ends with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def finish(status: int) -> None:
    """Ends the run with `status` unless that is 0; tasks behind this one do not start."""
    if status != EXIT_PASSED:
        raise StatusError(status)


@contextmanager
def _signals_raised() -> Iterator[None]:
    """While it lasts SIGINT, SIGTERM and SIGHUP raise, and clean-up is not cut short."""
    count = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if 1 < count < _IMPATIENT:
            # Below the cursor there may be lines that are kept up to date.
            erase = b"\r\x1b[J" if os.isatty(2) and os.environ.get("TERM") != "dumb" else b""
            os.write(2, erase + b"cleaning up; once more to leave it undone\n")
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(number)

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever started this in the background, or with nohup, had a reason.
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reader_gone() -> bool:
    """Whether what reads this program's output (`| head`) has gone."""
    poll = select.poll()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            poll.register(stream.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


@dataclass(frozen=True)
class _Ending:
    """How a run ended; `text` is for a person, `what` and the rest for a program."""

    status: int
    text: str = ""
    what: str = ""
    hint: str = ""
    log: Path | None = None
    tail: str = ""


def _ending(error: BaseException, debug: bool) -> _Ending:
    """What an error that ended the run means."""
    match error:
        case StatusError():
            return _Ending(error.status)
        case HarnessError():
            return _Ending(
                error.exit_status,
                f"error: {error}",
                error.message,
                error.hint,
                error.log,
                error.tail,
            )
        case KeyboardInterrupt():
            return _Ending(EXIT_INTERRUPTED, "interrupted", "interrupted")
        case Terminated():
            what = f"terminated ({error})"
            return _Ending(_SIGNALLED + error.number, what, what)
        case BrokenPipeError() if _reader_gone():
            return _Ending(_SIGNALLED + signal.SIGPIPE)
    # An error that nobody foresaw.
    first, *_ = str(error).splitlines() or [""]
    what = f"internal error: {type(error).__name__}: {first}"
    hint = "" if debug else "the same command with --debug shows where"
    text = f"{what}\n  try: {hint}" if hint else what
    return _Ending(EXIT_INFRASTRUCTURE, text, what, hint)


def _tell(ending: _Ending, reporter: Reporter | None) -> None:
    """Tells the reporter, and writes the rest of its output; nobody may be there to read it."""
    try:
        if reporter is not None:
            if ending.what:
                reporter.error(
                    ending.what,
                    hint=ending.hint,
                    status=ending.status,
                    log=ending.log,
                    tail=ending.tail,
                )
            reporter.close(ending.status)
        sys.stdout.flush()
    except (OSError, HarnessError):
        # Python flushes stdout at its end and would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def guarded(
    work: Callable[[], object],
    *,
    debug: Callable[[], bool] = lambda: False,
    reporter: Callable[[], Reporter | None] = lambda: None,
) -> int:
    """Runs `work` and returns the exit status; what went wrong is told on stderr.

    `debug` is asked after an error whether to add its traceback. `reporter` is
    asked whom the end, and an error, is told besides. SystemExit passes.
    """
    try:
        with _signals_raised():
            work()
            if (listening := reporter()) is not None:
                listening.close(EXIT_PASSED)
            # Here, and not at Python's end, a reader that went away is noticed.
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt, Terminated) as error:
        ending = _ending(error, debug())
        _tell(ending, reporter())
        if ending.text:
            if debug():
                traceback.print_exc()
            print(ending.text, file=sys.stderr)  # noqa: T201
        return ending.status
    return EXIT_PASSED
