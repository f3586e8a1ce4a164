# SPDX-License-Identifier: MIT
"""A session: a machine that runs a kernel, and the device that adb sees in it.

It is poisoned by its first failure: whatever waits then, and whatever is asked
later, raises that first cause.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import qemu
from harness.adb import AdbServer, Device
from harness.errors import BootError
from harness.targets import Target
from harness.workspace import Workspace

# What harness/guest/init says when adbd listens.
READY = r"goldfish-oom: init ready: (\S+)"
# The path of a socket below the scratch folder must stay within 107 bytes.
_LONGEST_SCRATCH = 90


@dataclass(frozen=True)
class BootLimits:
    """How long a boot may take, in seconds.

    A boot takes 3 s here, one of a kernel with KASAN and lock debugging 32 s,
    and a loaded host is several times slower.
    """

    # To init's word that it is ready.
    boot: float = 180.0
    # Without a line on the console: the kernel hangs, or has none.
    silence: float = 40.0
    # From init's word to an answer over adb.
    adb: float = 60.0


DEFAULT_LIMITS = BootLimits()


@dataclass(frozen=True)
class Session:
    """A booted machine, its device, and the folder that their logs go to."""

    machine: qemu.Machine
    device: Device
    folder: Path

    @property
    def console_log(self) -> Path:
        """The file with all that the console has shown."""
        return self.machine.console.log

    def check(self) -> None:
        """Raises the first cause, if the machine died, panicked or hung."""
        self.machine.health.check()


@contextmanager
def open_session(
    ws: Workspace,
    kernel_image: Path,
    initramfs: Path,
    target: Target,
    *,
    folder: Path,
    expect_release: str,
    limits: BootLimits = DEFAULT_LIMITS,
) -> Iterator[Session]:
    """Boots the kernel and yields its session; ends everything behind it.

    The logs (console.log, adb.log) go to `folder`. Raises BootError if the
    kernel does not come up or is not the one of `expect_release` (what `uname
    -r` must say), DeviceError if adb does not reach it, ToolMissingError.
    """
    with ExitStack() as stack:
        with ws.reporter.phase("boot"):
            session = _boot(stack, kernel_image, initramfs, target, folder, limits)
            _check_release(session, expect_release)
        yield session


def _boot(
    stack: ExitStack,
    kernel_image: Path,
    initramfs: Path,
    target: Target,
    folder: Path,
    limits: BootLimits,
) -> Session:
    """The session, once a marker came back; `stack` ends what was started."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = _scratch_folder()
    stack.callback(shutil.rmtree, scratch, ignore_errors=True)
    log = folder / "console.log"
    machine = qemu.start(target.machine, kernel_image, initramfs, scratch=scratch, log=log)
    stack.callback(machine.close)
    # While the kernel boots.
    server = AdbServer(scratch, folder / "adb.log")
    stack.callback(server.close)
    machine.console.wait_for(READY, timeout=limits.boot, silence=limits.silence)
    device = Device(server, machine.address, machine.health)
    device.connect(limits.adb)
    return Session(machine, device, folder)


def _scratch_folder() -> Path:
    """A folder for sockets and adb's home, with a short path."""
    folder = tempfile.mkdtemp(prefix="goldfish-oom-")
    if len(folder) > _LONGEST_SCRATCH:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="goldfish-oom-", dir="/tmp")
    return Path(folder)


def _check_release(session: Session, expected: str) -> None:
    """The kernel that runs proves that it is the one that was meant."""
    release = session.device.shell("uname -r").output.strip()
    if release != expected:
        raise BootError(
            f"the kernel that booted is {release}, not {expected}",
            log=session.console_log,
            hint="build the kernel again: ./inv build-kernel",
        )
