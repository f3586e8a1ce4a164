# SPDX-License-Identifier: MIT
"""A QEMU machine: its command line, its start, its end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import BootError, DeviceError
from harness.core.lifetime import Health
from harness.core.ports import LOOPBACK, PORT_ATTEMPTS, free_port
from harness.core.process import require, run
from harness.core.text import visible
from harness.machine.console import Console
from harness.machine.qmp import Qmp
from harness.targets.model import QemuMachine

# adbd's port in the guest; harness/build/guest/init waits for it.
GUEST_ADB_PORT = 5555
# From its start to its greeting QEMU takes 0.1 s; a loaded host much more.
_START_SECONDS = 60.0
_QUIT_SECONDS = 1.0
# What QEMU says when somebody else has the port that is to be forwarded.
_PORT_TAKEN = "Could not set up host forwarding rule"


def kernel_command_line(machine: QemuMachine) -> str:
    """The kernel's arguments."""
    return " ".join(
        (
            f"console={machine.console}",
            # The initramfs is the whole system.
            "rdinit=/init",
            # A panic restarts at once, which with -no-reboot ends QEMU. The
            # panic's text has left the (unbuffered) serial port before.
            "panic=-1",
            # Everything is printed: the console's log is what remains of a crash.
            "loglevel=8",
            # A test writes marks to /dev/kmsg; none may be dropped for being many.
            "printk.devkmsg=on",
            # Room for a whole run: what is overwritten cannot be judged.
            "log_buf_len=4M",
        )
    )


def qemu_argv(
    machine: QemuMachine, kernel: Path, initramfs: Path, *, adb_port: int, qmp_socket: Path | None
) -> list[str]:
    """QEMU's command line; adbd is reached at `adb_port` of the loopback interface.

    Without a `qmp_socket` nobody controls it but its terminal.
    """
    forward = f"hostfwd=tcp:{LOOPBACK}:{adb_port}-:{GUEST_ADB_PORT}"
    return [
        machine.binary,
        # No default devices: what is not named here is not there.
        "-nodefaults",
        *("-machine", machine.machine),
        *("-cpu", machine.cpu),
        *("-smp", str(machine.smp)),
        *("-m", f"{machine.memory_mib}M"),
        *("-display", "none"),
        # The console is QEMU's terminal; a Ctrl-C on it is the guest's.
        *("-chardev", "stdio,id=console,signal=off"),
        *("-serial", "chardev:console"),
        # We listen there before QEMU starts: nothing has to be polled.
        *(("-qmp", f"unix:{qmp_socket}") if qmp_socket is not None else ()),
        # The guest reaches nobody; adb reaches the guest.
        *("-netdev", f"user,id=net0,restrict=on,ipv6=off,{forward}"),
        *machine.devices,
        # A kernel that restarts the machine is a kernel that went down.
        "-no-reboot",
        *("-kernel", str(kernel)),
        *("-initrd", str(initramfs)),
        *("-append", kernel_command_line(machine)),
    ]


def command_to_paste(machine: QemuMachine, kernel: Path, initramfs: Path) -> str:
    """A line for a shell that boots the same by hand, with adbd at its own port."""
    argv = qemu_argv(machine, kernel, initramfs, adb_port=GUEST_ADB_PORT, qmp_socket=None)
    return f"{shlex.join(argv)}\n"


def version(machine: QemuMachine) -> str:
    """What QEMU says of itself, such as `QEMU emulator version 7.2.22 (…)`. Takes 30 ms.

    Raises ToolMissingError if it is not there, BootError if it does not say.
    """
    require(machine.binary)
    said = run([machine.binary, "--version"], error=BootError, timeout=_START_SECONDS).output
    first, *_ = said.splitlines() or [""]
    return visible(first)


def facts(machine: QemuMachine) -> dict[str, str]:
    """What of a machine is not the target's data, by name: see Record."""
    return {"arguments": kernel_command_line(machine), "qemu": version(machine)}


@dataclass(frozen=True)
class Machine:
    """A running machine; `address` is where its adbd is, for adb."""

    console: Console
    qmp: Qmp
    health: Health
    address: str

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self.console.pid

    def close(self) -> None:
        """Ends the machine: asks it to quit, then kills what is left."""
        self.console.expect_end()
        try:
            if not self.console.ended:
                self.qmp.execute("quit", timeout=_QUIT_SECONDS)
        except DeviceError:
            # A QEMU that no longer answers is killed below.
            self.console.kill()
        finally:
            try:
                self.console.close()
            finally:
                self.qmp.close()


def start(
    machine: QemuMachine,
    kernel: Path,
    initramfs: Path,
    *,
    scratch: Path,
    log: Path,
    more: Sequence[str] = (),
) -> Machine:
    """Starts QEMU. `scratch` must be short: a socket's path has 107 bytes at most.

    `more` are words for QEMU about what the guest does not see.

    Raises BootError if QEMU does not start, ToolMissingError if it is not there.
    """
    require(machine.binary, "setpriv")
    for path in (kernel, initramfs):
        if not path.is_file():
            raise BootError(f"there is no {path} to boot")
    for attempt in range(1, PORT_ATTEMPTS + 1):
        port = free_port()
        qmp_socket = scratch / f"qmp{attempt}"
        argv = qemu_argv(machine, kernel, initramfs, adb_port=port, qmp_socket=qmp_socket)
        argv += more
        qmp = Qmp(qmp_socket)
        try:
            console = _controlled(argv, log, qmp)
        except BaseException as error:
            qmp.close()
            taken = isinstance(error, BootError) and _PORT_TAKEN in error.tail
            if not taken or attempt == PORT_ATTEMPTS:
                raise
        else:
            return Machine(console, qmp, console.health, f"{LOOPBACK}:{port}")
    raise AssertionError("unreachable: the last attempt returns or raises")


def _controlled(argv: list[str], log: Path, qmp: Qmp) -> Console:
    """The console of a QEMU that is set up and answers `qmp`; else QEMU is ended."""
    console = Console(argv, log, Health())
    try:
        qmp.accept(_START_SECONDS, console.health)
    except BaseException:
        console.kill()
        console.close()
        raise
    return console
