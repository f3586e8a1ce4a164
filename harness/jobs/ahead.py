# SPDX-License-Identifier: MIT
"""Kernels that are built ahead: beside other checks, with the CPU time that those leave.

The boot tests need three kernels. Building them takes both CPUs of a small machine for half an
hour; most checks, and most guests, leave one of two CPUs idle.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness.build import kernel as kernels
from harness.core import process
from harness.core.errors import HarnessError
from harness.core.lifetime import stopped_by
from harness.core.niceness import stand_back
from harness.core.paths import REPO
from harness.jobs import cli
from harness.targets.model import Target
from harness.targets.table import get_target
from harness.ui.workspace import Workspace

# Time for a `make` that is told to stop.
_GRACE_SECONDS = 30.0


@contextmanager
def kernels_ahead(ws: Workspace, target: Target) -> Iterator[None]:
    """Build the kernels of the boot tests while the context lasts, or until they are there.

    Whoever needs one meanwhile waits for it, as for any other run. An error is told in a log
    only: it comes again where the kernel is needed.
    """
    stop = threading.Event()

    def work() -> None:
        options = process.RunOptions(cwd=REPO, grace=_GRACE_SECONDS)
        words = (sys.executable, "-m", __name__, target.name)
        with stopped_by(stop):
            try:
                process.run(words, options, log=ws.logs / "kernels-ahead.log", check=False)
            except HarnessError:
                return

    thread = threading.Thread(target=work, name="kernels-ahead")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def build(ws: Workspace, target: Target) -> None:
    """Build the target's kernel, the one that checks itself, and the stock one."""
    for variant in (target, target.checking_itself(), target.stock()):
        kernels.build(ws, variant)


def main(name: str) -> int:
    """Build the kernels of the target called `name`; return the exit status."""
    stand_back()
    return cli.guarded(lambda: build(Workspace(), get_target(name)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
