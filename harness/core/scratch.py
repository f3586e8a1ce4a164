# SPDX-License-Identifier: MIT
"""Temporary folders that do not stay for ever if the processes that made them are killed.

Each has a file HELD, on which all processes that work in the folder hold a shared lock: it ends
with them, however they end. Where the lock is free, the next process removes the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# harness/sweep/keeper.py, which imports nothing of the harness, has this name, too.
HELD = "held"
_PREFIX = "goldfish-oom-"


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """Yield a new temporary folder `goldfish-oom-<kind>-…`, and remove it afterwards.

    What killed processes have left is removed before.
    """
    remove_left()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-"))
    try:
        new = folder / "new"
        with new.open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            # So there is no moment in which somebody else finds the lock free.
            new.rename(folder / HELD)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left() -> None:
    """Remove the folders of scratch() that killed processes of this user have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # It may be another user's, or vanish meanwhile.
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with (folder / HELD).open("r+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
