# SPDX-License-Identifier: MIT
"""The Android Emulator with a kernel of ours: its command line, its start, its end."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from harness.console import Console
from harness.errors import BootError, HarnessError, InfrastructureError
from harness.lifetime import Health
from harness.ports import LOOPBACK
from harness.process import require
from harness.sdk import CLASSIC_UNTIL, ENGINES_SINCE, GOOD_RELEASES, Avd, Sdk
from harness.targets import SdkMachine

# Where the emulator itself looks for a console port: even ones.
_FIRST_PORT, _LAST_PORT = 5554, 5682
# Both came with the emulators of 2015 and later.
_SELINUX_SINCE = (24, 3)
_READ_ONLY_SINCE = (27, 0)


@dataclass(frozen=True)
class Refusal:
    """What an emulator says when it will not start, and what that means."""

    text: str
    message: str
    hint: str


REFUSALS = (
    Refusal(
        r"missing a kernel file|kernel-ranchu",
        "this emulator wants a kernel for its new board (ranchu), and boots no goldfish",
        f"goldfish boots on {GOOD_RELEASES}",
    ),
    Refusal(
        r"minimum kernel version 3\.10|requires minimum kernel version",
        "this emulator takes no kernel older than 3.10",
        f"goldfish 3.4 boots on {GOOD_RELEASES}",
    ),
    Refusal(
        r"unknown option: -engine|Invalid engine|[Cc]lassic engine|selected the classic",
        "this emulator has no classic engine any more",
        f"goldfish boots on {GOOD_RELEASES}",
    ),
    Refusal(
        r"[Uu]nknown AVD|unknown virtual device name|Could not open .*\.ini",
        "the emulator does not know this AVD",
        "emulator -list-avds; or --avd",
    ),
    Refusal(
        r"[Cc]annot find AVD system path|Missing initial data partition|broken AVD system path",
        "the AVD's system image is not there",
        "install it with the SDK's manager, in the same SDK",
    ),
    Refusal(
        r"error while loading shared libraries|No such file or directory.*emulator",
        "the emulator's libraries are not there (old ones are 32-bit programs)",
        "apt-get install libc6-i386 lib32stdc++6 lib32z1, or ANDROID_EMULATOR_FORCE_32BIT",
    ),
    Refusal(r"another emulator instance|already running", "this AVD runs already", "end it"),
)


def emulator_argv(
    sdk: Sdk, avd: Avd, machine: SdkMachine, kernel: Path, console_port: int
) -> list[str]:
    """The emulator's command line; the device's adbd is at `console_port` + 1."""
    version = sdk.version
    engines = version >= ENGINES_SINCE
    return [
        str(sdk.emulator),
        *("-avd", avd.name),
        *("-kernel", str(kernel)),
        # The kernel's console comes to our terminal.
        "-show-kernel",
        "-no-window",
        "-no-audio" if engines else "-noaudio",
        "-no-boot-anim",
        # Nothing of an earlier run, nothing for a later one.
        "-no-snapshot" if engines else "-no-snapstorage",
        *(["-read-only"] if version >= _READ_ONLY_SINCE else []),
        *("-memory", str(machine.memory_mib)),
        *("-ports", f"{console_port},{console_port + 1}"),
        # The programs of a test come from nowhere that the policy knows.
        *(["-selinux", "permissive"] if not version or version >= _SELINUX_SINCE else []),
        *(["-engine", "classic"] if engines and version <= CLASSIC_UNTIL else []),
        # All that follows is QEMU's.
        *("-qemu", "-cpu", machine.cpu),
    ]


def free_port_pair() -> int:
    """An even port for the emulator's console, free like the one behind it.

    Raises InfrastructureError if there are none.
    """
    for port in range(_FIRST_PORT, _LAST_PORT + 1, 2):
        if _is_free(port) and _is_free(port + 1):
            return port
    raise InfrastructureError(
        f"no two ports are free between {_FIRST_PORT} and {_LAST_PORT + 1}",
        hint="end some emulators",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def explain(text: str) -> Refusal | None:
    """The known refusal that an emulator's output holds, if it does."""
    return next((known for known in REFUSALS if re.search(known.text, text)), None)


@dataclass(frozen=True)
class Machine:
    """A running emulator; `address` is its serial for adb."""

    console: Console
    health: Health
    console_port: int

    @property
    def address(self) -> str:
        """What adb calls it."""
        return f"emulator-{self.console_port}"

    @property
    def pid(self) -> int:
        """The emulator's process id."""
        return self.console.pid

    def close(self) -> None:
        """Ends it. What it wrote to the AVD in this run is of no use to anybody."""
        self.console.expect_end()
        self.console.kill()
        self.console.close()


class _EmulatorHealth(Health):
    """A health whose first cause says what a known refusal means."""

    console: Console | None = None

    def fail(self, cause: HarnessError) -> None:
        said = self.console.tail(40) if self.console is not None else cause.tail
        known = explain(f"{said}\n{cause.tail}")
        if known is not None:
            cause = BootError(known.message, hint=known.hint, log=cause.log, tail=cause.tail)
        super().fail(cause)


def start(
    sdk: Sdk, avd: Avd, machine: SdkMachine, kernel: Path, *, adb_port: int, log: Path
) -> Machine:
    """Starts the emulator with `kernel`. Raises BootError where it cannot be started."""
    require("setpriv", "env")
    if not kernel.is_file():
        raise BootError(f"there is no {kernel} to boot")
    port = free_port_pair()
    health = _EmulatorHealth()
    # It tells our adb server of itself, and not the user's.
    tell = f"ANDROID_ADB_SERVER_PORT={adb_port}"
    argv = ["env", tell, *emulator_argv(sdk, avd, machine, kernel, port)]
    console = Console(argv, log, health)
    health.console = console
    return Machine(console, health, port)
