# SPDX-License-Identifier: MIT
"""A QEMU machine: its command line, start and end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import BootError, DeviceError
from harness.core.lifetime import Health
from harness.core.ports import LOOPBACK, PORT_ATTEMPTS, free_port
from harness.core.process import RunOptions, require, run
from harness.core.text import visible
from harness.machine.console import Console
from harness.machine.qmp import Qmp
from harness.targets.model import QemuMachine

# adbd's port in the guest; harness/build/guest/init waits for it.
GUEST_ADB_PORT = 5555
# QEMU takes 0.1 s from its start to its greeting; on a loaded host much longer.
_START_SECONDS = 60.0
_QUIT_SECONDS = 1.0
# QEMU's message when another process has the port that is to be forwarded.
_PORT_TAKEN = "Could not set up host forwarding rule"


def kernel_command_line(machine: QemuMachine) -> str:
    """Build the kernel's command line."""
    return " ".join(
        (
            f"console={machine.console}",
            # The initramfs is the whole system.
            "rdinit=/init",
            # A panic reboots at once, which with -no-reboot ends QEMU. By then the
            # panic's text has left the (unbuffered) serial port.
            "panic=-1",
            # Print everything: after a crash only the console's log remains.
            "loglevel=8",
            # Tests write marker lines to /dev/kmsg; the rate limit must not drop any.
            "printk.devkmsg=on",
            # Room for a whole run: overwritten lines cannot be judged.
            "log_buf_len=4M",
        )
    )


def qemu_argv(
    machine: QemuMachine, kernel: Path, initramfs: Path, *, adb_port: int, qmp_socket: Path | None
) -> list[str]:
    """Build QEMU's command line; adbd is reached at `adb_port` of the loopback interface.

    Without a `qmp_socket` QEMU has no control connection.
    """
    forward = f"hostfwd=tcp:{LOOPBACK}:{adb_port}-:{GUEST_ADB_PORT}"
    return [
        machine.binary,
        # No default devices: the machine has only those named here.
        "-nodefaults",
        *("-machine", machine.machine),
        *("-cpu", machine.cpu),
        *("-smp", str(machine.smp)),
        *("-m", f"{machine.memory_mib}M"),
        *("-display", "none"),
        # The console is QEMU's terminal; Ctrl-C on it goes to the guest.
        *("-chardev", "stdio,id=console,signal=off"),
        *("-serial", "chardev:console"),
        # The harness listens there before QEMU starts, so it need not poll.
        *(("-qmp", f"unix:{qmp_socket}") if qmp_socket is not None else ()),
        # The guest reaches no other machine; adb reaches the guest.
        *("-netdev", f"user,id=net0,restrict=on,ipv6=off,{forward}"),
        *machine.devices,
        # A kernel that reboots the machine has failed: QEMU ends.
        "-no-reboot",
        *("-kernel", str(kernel)),
        *("-initrd", str(initramfs)),
        *("-append", kernel_command_line(machine)),
    ]


def command_to_paste(machine: QemuMachine, kernel: Path, initramfs: Path) -> str:
    """Return a shell command line that boots the guest by hand, with adbd at GUEST_ADB_PORT."""
    argv = qemu_argv(machine, kernel, initramfs, adb_port=GUEST_ADB_PORT, qmp_socket=None)
    return f"{shlex.join(argv)}\n"


def version(machine: QemuMachine) -> str:
    """Return QEMU's version line, such as `QEMU emulator version 7.2.22 (…)`. Takes 30 ms.

    Raises ToolMissingError without QEMU, BootError if `--version` fails.
    """
    require(machine.binary)
    said = run(
        [machine.binary, "--version"], RunOptions(timeout=_START_SECONDS), error=BootError
    ).output
    first, *_ = said.splitlines() or [""]
    return visible(first)


@dataclass(frozen=True)
class Machine:
    """A running machine; `address` is its adbd's address, for adb."""

    console: Console
    qmp: Qmp
    health: Health
    address: str

    def close(self) -> None:
        """End the machine: ask it to quit, then kill what is left."""
        self.console.expect_end()
        with closing(self.qmp), closing(self.console):
            try:
                if not self.console.ended:
                    self.qmp.execute("quit", timeout=_QUIT_SECONDS)
            except DeviceError:
                # A QEMU that no longer answers is killed.
                self.console.kill()


def start(
    machine: QemuMachine,
    kernel: Path,
    initramfs: Path,
    *,
    scratch: Path,
    log: Path,
    more: Sequence[str] = (),
) -> Machine:
    """Start QEMU. `scratch` must be short: a socket's path has 107 bytes at most.

    `more` are further arguments for QEMU, about things that the guest does not see.

    Raises BootError if QEMU does not start, ToolMissingError if it is not installed.
    """
    require(machine.binary, "setpriv")
    for path in (kernel, initramfs):
        if not path.is_file():
            raise BootError(f"there is no {path} to boot")
    for attempt in range(1, PORT_ATTEMPTS + 1):
        port = free_port()
        qmp_socket = scratch / f"qmp{attempt}"
        argv = qemu_argv(machine, kernel, initramfs, adb_port=port, qmp_socket=qmp_socket)
        try:
            with ExitStack() as stack:
                qmp = stack.enter_context(closing(Qmp(qmp_socket)))
                console = stack.enter_context(closing(Console([*argv, *more], log, Health())))
                stack.callback(console.kill)
                qmp.accept(_START_SECONDS, console.health)
                stack.pop_all()
                return Machine(console, qmp, console.health, f"{LOOPBACK}:{port}")
        except BootError as error:
            if _PORT_TAKEN not in error.tail or attempt == PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")
