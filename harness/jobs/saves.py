# SPDX-License-Identifier: MIT
"""Files that are saved while a program runs: waited for, or a reason to give up what runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from harness.core import lifetime
from harness.core.errors import InfrastructureError

# Whoever writes several files does so within so many milliseconds of each other, mostly.
_QUIET_MS = 150
# No longer than this is waited for quiet.
_MOST_MS = 3000
_START_SECONDS = 60.0
_POLL_MS = 100
_SIGNAL = signal.SIGUSR1


class Abandoned(BaseException):
    """A file was saved: what runs is given up. It passes every `except Exception`."""


class Saves:
    """Watches folders and files from threads of its own, from `with` on until its end.

    `is_save` is called in such a thread with each path that something happened to; it says
    whether that was a save. All other methods are for the main thread.
    """

    def __init__(self, paths: Sequence[Path], is_save: Callable[[Path], bool]) -> None:
        self._paths = paths
        self._is_save = is_save
        self._changed = threading.Condition()
        self._saved = False
        self._happened: set[Path] = set()
        self._failure: Exception | None = None
        self._armed = False
        self._stop = threading.Event()
        folders = [path for path in paths if path.is_dir()]
        # An editor puts another file in the place of the old one, so the folder is watched.
        parents = sorted({path.parent for path in paths if not path.is_dir()})
        self._threads = [
            threading.Thread(target=self._watch, args=(some, whole), name="saves", daemon=True)
            for some, whole in ((folders, True), (parents, False))
            if some
        ]
        self._starting = len(self._threads)
        self._handler: Callable[[int, FrameType | None], Any] | int | None = signal.SIG_DFL

    def __enter__(self) -> Saves:
        # To the very end, as a thread may send the signal when it is no longer waited for.
        self._handler = signal.signal(_SIGNAL, self._on_signal)
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(lambda: not self._starting or self._failure, _START_SECONDS)
        try:
            self._check()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        signal.signal(_SIGNAL, self._handler)

    def forget(self) -> set[Path]:
        """Forget the saves up to now: what they are about is looked at after this.

        Return what something has happened to since this was called last, saved or not.
        """
        with self._changed:
            self._saved = False
            happened, self._happened = self._happened, set()
        return happened

    def wait(self) -> None:
        """Wait until there was a save."""
        with self._changed:
            self._changed.wait_for(lambda: self._saved or self._failure)
        self._check()

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Raise Abandoned inside the `with` block, once, as soon as there was a save."""
        try:
            with self._changed:
                saved = self._saved
                self._armed = not saved
            if saved:
                raise Abandoned
            yield
        finally:
            self._armed = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise Abandoned

    def _check(self) -> None:
        if self._failure is not None:
            raise InfrastructureError(
                f"cannot watch {self._paths[0]} and other folders: {self._failure}",
                hint="is it there? sysctl fs.inotify.max_user_watches says how many folders "
                "may be watched; with WATCHFILES_FORCE_POLLING=1 none are",
            ) from self._failure
        if self._starting:
            raise InfrastructureError("the folders were not watched in time", hint="try it again")

    def _watch(self, paths: Sequence[Path], whole: bool) -> None:
        """Do the work of a thread: watch folders, with all below them if `whole`."""
        # Imported here: other tasks do not wait for it.
        from watchfiles import watch

        starting = True
        try:
            for changes in watch(
                *paths,
                recursive=whole,
                watch_filter=None,
                step=_QUIET_MS,
                debounce=_MOST_MS,
                rust_timeout=_POLL_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                raise_interrupt=False,
            ):
                if starting:
                    # After the first timeout, everything is being watched.
                    starting = False
                    with self._changed:
                        self._starting -= 1
                        self._changed.notify_all()
                paths = [Path(path) for _, path in changes]
                with self._changed:
                    self._happened.update(paths)
                # At the end, a program that says whether it was a save is not waited for.
                with lifetime.stopped_by(self._stop):
                    saved = any(map(self._is_save, paths))
                if saved:
                    self._tell()
        except Exception as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _tell(self) -> None:
        with self._changed:
            self._saved = True
            self._changed.notify_all()
            armed = self._armed
        if armed:
            with suppress(ProcessLookupError):
                os.kill(os.getpid(), _SIGNAL)
