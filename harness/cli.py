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
from types import FrameType

from harness.errors import (
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_PASSED,
    HarnessError,
)

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
            os.write(2, b"cleaning up; once more to leave it undone\n")
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


def _explain(text: str, debug: bool) -> None:
    """Writes an error for a person, below the traceback if that was asked for."""
    if debug:
        traceback.print_exc()
    sys.stdout.flush()
    print(text, file=sys.stderr)  # noqa: T201


def guarded(work: Callable[[], object], *, debug: Callable[[], bool] = lambda: False) -> int:
    """Runs `work` and returns the exit status; what went wrong is told on stderr.

    `debug` is asked after an error whether to add its traceback. SystemExit
    passes.
    """
    try:
        with _signals_raised():
            work()
            # Here, and not at Python's end, a reader that went away is noticed.
            sys.stdout.flush()
    except StatusError as end:
        return end.status
    except HarnessError as error:
        _explain(f"error: {error}", debug())
        return error.exit_status
    except KeyboardInterrupt:
        _explain("interrupted", debug())
        return EXIT_INTERRUPTED
    except Terminated as end:
        _explain(f"terminated ({end})", debug())
        return _SIGNALLED + end.number
    except BrokenPipeError as error:
        if not _reader_gone():
            return _internal(error, debug())
        # Python flushes stdout at its end and would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _SIGNALLED + signal.SIGPIPE
    except Exception as error:
        return _internal(error, debug())
    return EXIT_PASSED


def _internal(error: Exception, debug: bool) -> int:
    """Tells of an error that nobody foresaw."""
    first, *_ = str(error).splitlines() or [""]
    hint = "" if debug else "\n  try: the same command with --debug shows where"
    _explain(f"internal error: {type(error).__name__}: {first}{hint}", debug)
    return EXIT_INFRASTRUCTURE
