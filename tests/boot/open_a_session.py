# SPDX-License-Identifier: MIT
"""Opens a session, for a test that ends this process. Arguments: PHASE IMAGE INITRAMFS RELEASE.

Prints PHASE when that phase is reached, and waits. In the phase `start` QEMU runs, in `boot` the
kernel prints, in `device` adb is asked, in `command` a command runs.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console as Terminal

from harness.core.errors import EXIT_INTERRUPTED
from harness.machine import adb, console, qmp
from harness.machine.session import Boot, open_session
from harness.targets.table import get_target
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace


def announce(name: str) -> None:
    """Print that a phase is reached."""
    print(name, flush=True)  # noqa: T201


def before(owner: object, method: str, name: str) -> None:
    """Announce `name`, and linger so that the test can act, just before `owner.method` runs."""
    original: Callable[..., object] = getattr(owner, method)

    def lingering(*arguments: object, **options: object) -> object:
        announce(name)
        time.sleep(600)
        return original(*arguments, **options)

    setattr(owner, method, lingering)


def main() -> None:
    """Open the session, up to the phase and beyond."""
    phase, image, initramfs, release = sys.argv[1:]
    if phase == "start":
        before(qmp.Qmp, "accept", phase)
    elif phase == "boot":
        before(console.Console, "wait_for", phase)
    elif phase == "device":
        before(adb.Device, "connect", phase)
    workspace = Workspace(reporter=Reporter(Terminal(file=io.StringIO())))
    target = get_target(os.environ["INVOKE_GOLDFISH_OOM_KERNEL"])
    boot = Boot(target, Path(image), Path(initramfs), release)
    with open_session(workspace, boot, Path("results")) as session:
        command = session.device.start("echo runs; sleep 3600")
        command.wait_line("runs", 60)
        announce(phase)
        command.wait(3600)


if __name__ == "__main__":
    assert threading.current_thread() is threading.main_thread()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
