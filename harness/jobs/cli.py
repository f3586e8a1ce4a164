# SPDX-License-Identifier: MIT
"""The boundary between the harness and its caller: errors, signals, exit status."""

from __future__ import annotations

import codecs
import io
import locale
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from harness.core.errors import (
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_PASSED,
    NO_PLACE,
    NOT_ALLOWED,
    DiskFullError,
    HarnessError,
    InfrastructureError,
)

if TYPE_CHECKING:
    # Not imported at run time: `./inv --list` should not wait for it.
    from harness.ui.progress import Reporter

# For a program that a signal ended, a shell reports this plus the signal's number.
_SIGNALLED = 128
# Substitutes for characters that the terminal's encoding lacks.
_PLAIN = {"…": "...", "≤": "<=", "≥": ">=", "—": "-"}
_PLAIN_ERRORS = "goldfish-oom.plain"
_UTF_8 = "utf-8"
# The first signal ends the run. The second does not cut its clean-up short; the third does.
_IMPATIENT = 3


# What is to be done when the tasks are over.
_last_works: list[Callable[[Callable[[str], None]], None]] = []


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived; like KeyboardInterrupt, it passes every `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StatusError(Exception):
    """The end of a task with `status`; the task has already reported the reason."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def finish(status: int) -> None:
    """End the run with `status` unless that is 0; later tasks then do not start."""
    if status != EXIT_PASSED:
        raise StatusError(status)


def at_end(work: Callable[[Callable[[str], None]], None]) -> None:
    """Have `work` done when the tasks are over, unless a signal ended them.

    It gets a function that prints a line on stderr: a task's last line on stdout is its result.
    """
    _last_works.append(work)


def _do_last_works() -> None:
    while _last_works:
        _last_works.pop()(_say)


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP raise exceptions; see _IMPATIENT for further signals."""
    count = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if 1 < count < _IMPATIENT:
            # Below the cursor there may be progress lines.
            erase = b"\r\x1b[J" if os.isatty(2) and os.environ.get("TERM") != "dumb" else b""
            with suppress(OSError):
                os.write(2, erase + b"cleaning up; once more to leave it undone\n")
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(number)

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal that the caller ignores (nohup, a job in the background) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reader_gone() -> bool:
    """Return whether the reader of this program's output (`| head`) has gone."""
    poll = select.poll()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            poll.register(stream.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


@dataclass(frozen=True)
class _Ending:
    """The end of a run: `error` is reported, for a person behind the words `label`."""

    status: int
    error: HarnessError | None = None
    label: str = ""


def _explained(error: BaseException) -> BaseException:
    """Return an error that explains what the system refused; any other error unchanged."""
    if isinstance(error, OSError) and error.errno in NO_PLACE:
        where = error.filename or "standard output, or a file of the run"
        return DiskFullError(f"no space left: {where}", hint="free some space")
    if isinstance(error, OSError) and error.errno in NOT_ALLOWED and error.filename:
        message = f"this user may not write to or read {os.fsdecode(error.filename)}"
        hint = _other_place(Path(os.fsdecode(error.filename)))
        return InfrastructureError(f"{message} ({error.strerror})", hint=hint)
    return error


def _other_place(path: Path) -> str:
    """Return what to do if `path` cannot be used; empty if that is not known."""
    # Imported late: `./inv --list` should not wait for it.
    from harness.core.paths import CACHE_HINT, REPO, cache_root

    with suppress(InfrastructureError):
        if path.is_relative_to(cache_root()) or cache_root().is_relative_to(path):
            return CACHE_HINT
    if path.is_relative_to(REPO):
        return "clone the repository to a folder that you may write to"
    return ""


def _ending(error: BaseException, debug: bool) -> _Ending:
    """Return the ending for an error that ended the run."""
    match error := _explained(error):
        case StatusError():
            return _Ending(error.status)
        case HarnessError():
            return _Ending(error.exit_status, error, "error: ")
        case KeyboardInterrupt():
            return _Ending(EXIT_INTERRUPTED, HarnessError("interrupted"))
        case Terminated():
            return _Ending(_SIGNALLED + error.number, HarnessError(f"terminated ({error})"))
        case BrokenPipeError() if _reader_gone():
            return _Ending(_SIGNALLED + signal.SIGPIPE)
    # An unexpected error, so a bug.
    first, *_ = str(error).splitlines() or [""]
    what = f"internal error: {type(error).__name__}: {first}"
    hint = "" if debug else "the same command with --debug shows where"
    return _Ending(EXIT_INFRASTRUCTURE, HarnessError(what, hint=hint))


def _tell(ending: _Ending, reporter: Reporter | None) -> None:
    """Report the ending, and flush the reporter's output; the reader may have gone."""
    with suppress(OSError, HarnessError):
        if reporter is not None:
            if (error := ending.error) is not None:
                reporter.error(
                    error.message,
                    hint=error.hint,
                    status=ending.status,
                    log=error.log,
                    tail=error.tail,
                )
            reporter.close(ending.status)
        _flush()


def report(error: HarnessError | OSError, reporter: Reporter) -> None:
    """Report an error after which the task goes on, as the error at a task's end is reported."""
    known = _explained(error)
    if not isinstance(known, HarnessError):
        known = InfrastructureError(str(error))
    ending = _ending(known, debug=False)
    _tell(ending, reporter)
    _say(f"{ending.label}{known}")


def _flush() -> None:
    """Flush stdout; it is None if it was closed at the start."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _say(text: str) -> None:
    """Print `text` on stderr, if it can be written to."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(text, file=sys.stderr)  # noqa: T201


def _drop_unwritten() -> None:
    """Discard what stdout and stderr could not write.

    Otherwise Python would try again at its end, and exit with 120, a status of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def fit_output() -> None:
    """Have stdout and stderr use the locale's encoding, with substitutes for what it lacks.

    Files are always UTF-8 (`inv` sets PYTHONUTF8). A terminal has its locale's encoding. The C
    locale says nothing about a terminal, so UTF-8 is used. PYTHONIOENCODING overrides both.
    """
    codecs.register_error(_PLAIN_ERRORS, _plainly)
    named = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    encoding = named or locale.getencoding()
    if codecs.lookup(encoding).name == "ascii" and not named:
        encoding = _UTF_8
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=_PLAIN_ERRORS)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return substitutes for characters that an encoding lacks; an error handler of codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in characters), error.end


def guarded(
    work: Callable[[], object],
    *,
    debug: Callable[[], bool] = lambda: False,
    reporter: Callable[[], Reporter | None] = lambda: None,
) -> int:
    """Run `work` and return the exit status; print errors on stderr.

    After an error, `debug` is called and says whether to add the traceback. `reporter` is
    called for a reporter, which is also told of the end or the error. SystemExit passes.
    """
    try:
        with _signals_raised():
            try:
                work()
            except Exception:
                _do_last_works()
                raise
            _do_last_works()
            if (listening := reporter()) is not None:
                listening.close(EXIT_PASSED)
            # Here, so that a reader that has gone is noticed before Python's end.
            _flush()
    except (Exception, KeyboardInterrupt, Terminated) as error:
        ending = _ending(error, debug())
        _tell(ending, reporter())
        if ending.error is not None:
            if debug():
                _say(traceback.format_exc().rstrip())
            _say(f"{ending.label}{ending.error}")
        return ending.status
    finally:
        _last_works.clear()
        _drop_unwritten()
    return EXIT_PASSED
