# SPDX-License-Identifier: MIT
"""Kernels that are built ahead: beside other checks, with the CPU time that those leave.

`./inv test` needs two kernels. Building them takes both CPUs of a small machine for many minutes;
checks and guests do not take all of both.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
    """Build the kernels of `./inv test` while the context lasts, or until they are there.

    Whoever needs one meanwhile waits for it, as for any other run. An error is told in a log
    only: it comes again where the kernel is needed.
    """
    stop = threading.Event()
    thread = threading.Thread(
        target=_run, args=(ws, target, stop), name="kernels-ahead", daemon=True
    )
    try:
        thread.start()
        yield
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()


def _run(ws: Workspace, target: Target, stop: threading.Event) -> None:
    log = ws.logs / "kernels-ahead.log"
    # It ends itself, and what it has started, also if we are killed.
    words = ("setpriv", "--pdeathsig", "TERM", sys.executable, "-m", __name__)
    options = process.RunOptions(cwd=REPO, env=os.environ, grace=_GRACE_SECONDS)
    with stopped_by(stop), suppress(HarnessError, OSError):
        log.unlink(missing_ok=True)
        process.run((*words, target.name, target.toolchain), options, log=log, check=False)


def build(ws: Workspace, target: Target) -> None:
    """Build the target's kernel, and the stock one."""
    for variant in (target, target.stock()):
        kernels.build(ws, variant)


def main(name: str, toolchain: str) -> int:
    """Build the kernels of the target called `name`; return the exit status."""
    stand_back()
    return cli.guarded(lambda: build(Workspace(), get_target(name).with_toolchain(toolchain)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
