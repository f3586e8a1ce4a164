# SPDX-License-Identifier: MIT
"""The Android Emulator with our kernel: its command line, start and end."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.core.environment import environment_of
from harness.core.errors import BootError, HarnessError, InfrastructureError
from harness.core.lifetime import Health
from harness.core.ports import LOOPBACK
from harness.core.process import require, run
from harness.machine.console import Console
from harness.machine.sdk import GOOD_RELEASES, MAKE_AVD, PACKAGES_32, Avd, Emulator, Sdk, data_image
from harness.targets.model import SdkMachine

# The kernel's first line; the emulator's own messages come before it.
FIRST_LINE = r"Linux version \d|Booting Linux on physical CPU"
# The emulator itself searches this range for a console port, which has to be even.
_FIRST_PORT, _LAST_PORT = 5554, 5682
# The version (of 2015) that introduced `-selinux`.
_SELINUX_SINCE = (24, 3)


@dataclass(frozen=True)
class Refusal:
    """A message with which an emulator refuses to start, and what it means."""

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
        r"unknown option: -engine|Invalid -?engine|[Cc]lassic engine|selected the classic"
        r"|Missing emulator engine program",
        "this emulator has no classic engine any more",
        f"goldfish boots on {GOOD_RELEASES}",
    ),
    Refusal(
        r"[Uu]nknown AVD|unknown virtual device name|Could not open .*\.ini",
        "the emulator does not know this AVD",
        "emulator -list-avds; or --avd",
    ),
    Refusal(
        r"[Cc]annot find AVD system path|Missing initial data partition|[Bb]roken AVD system path",
        "the AVD's system image is not there",
        "install it with the SDK's manager, in the same SDK",
    ),
    # Even without a window the emulator is linked against a desktop's libraries.
    Refusal(
        r"error while loading shared libraries: lib(?:GL|pulse|asound|nss|nspr|X|xcb)",
        "the emulator lacks a library of the desktop's",
        "apt-get install libgl1 libpulse0 libasound2 libnss3 libx11-6 libxcomposite1 libxcursor1"
        " libxi6 libxtst6",
    ),
    # The second alternative is env's message for a program whose loader is missing.
    Refusal(
        r"error while loading shared libraries|(?m:^env: .*/emulator)",
        "the emulator cannot be started here: old ones are 32-bit programs",
        f"apt-get install {PACKAGES_32}",
    ),
    Refusal(
        r"32-bit Linux Android emulator binaries are DEPRECATED",
        "the emulator's launcher takes this system for a 32-bit one: it asks `file`",
        "apt-get install file",
    ),
    Refusal(
        r"Only screen size of 768 X 1280",
        "the AVD's screen is too large for an emulator without a GPU",
        f"at most 768 and 1280 as hw.lcd.width and hw.lcd.height in its config.ini; or {MAKE_AVD}",
    ),
    Refusal(r"another emulator instance", "this AVD runs already", "end it"),
)


def emulator_argv(
    sdk: Sdk,
    avd: Avd,
    machine: SdkMachine,
    kernel: Path,
    console_port: int,
    data: Path | None = None,
) -> list[str]:
    """Build the emulator's command line; the device's adbd listens at `console_port` + 1.

    `data` is the image of /data, which the run modifies; without it, the AVD's own is used.
    """
    version, engines = sdk.version, sdk.has_engines
    return [
        str(sdk.emulator),
        *("-avd", avd.name),
        *("-kernel", str(kernel)),
        # Print the kernel's console on our terminal.
        "-show-kernel",
        "-no-window",
        "-no-audio" if engines else "-noaudio",
        "-no-boot-anim",
        # Use neither the host's GPU nor libraries for one.
        *("-gpu", "off"),
        # Load no state of an earlier run, and save none. Do not use -wipe-data for that:
        # since version 25 it deletes the AVD's own images.
        "-no-snapshot" if engines else "-no-snapstorage",
        *(["-data", str(data)] if data is not None else []),
        *("-memory", str(machine.memory_mib)),
        *("-ports", f"{console_port},{console_port + 1}"),
        # SELinux's policy does not know the place of the test programs.
        *(["-selinux", "permissive"] if not version or version >= _SELINUX_SINCE else []),
        *(["-engine", "classic"] if engines and sdk.has_classic_engine else []),
        # All following arguments are QEMU's.
        *("-qemu", "-cpu", machine.cpu),
    ]


def free_port_pair() -> int:
    """Find an even port for the emulator's console such that the next port is free, too.

    Raises InfrastructureError if there is none.
    """
    for port in range(_FIRST_PORT, _LAST_PORT + 1, 2):
        if _is_free(port) and _is_free(port + 1):
            return port
    raise InfrastructureError(
        f"no two ports are free between {_FIRST_PORT} and {_LAST_PORT + 1}",
        hint="end some emulators",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as listener, suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        return True
    return False


@dataclass(frozen=True)
class Machine:
    """A running emulator."""

    console: Console
    health: Health
    console_port: int

    @property
    def address(self) -> str:
        """The emulator's serial for adb."""
        return f"emulator-{self.console_port}"

    def close(self) -> None:
        """End the emulator; SIGTERM comes first, so that it can remove its locks of the AVD."""
        self.console.expect_end()
        if not self.console.ended:
            with suppress(ProcessLookupError):
                os.killpg(self.console.pid, signal.SIGTERM)
        self.console.close()


class _EmulatorHealth(Health):
    """A Health whose first cause explains a known refusal."""

    console: Console | None = None

    def fail(self, cause: HarnessError) -> None:
        said = cause.tail if self.console is None else self.console.tail(sys.maxsize)
        super().fail(explained(cause, said))


def explained(cause: HarnessError, said: str) -> HarnessError:
    """Return an error that explains `cause` if the emulator refused to start; else `cause`.

    `said` is the whole console. If a kernel has printed a line the emulator did not refuse,
    and a later line may contain the words of a refusal by chance. Warnings are no refusals.
    """
    lines = said.splitlines()
    if any(re.search(FIRST_LINE, line) for line in lines):
        return cause
    text = "\n".join(line for line in lines if "WARNING" not in line)
    for known in REFUSALS:
        if re.search(known.text, text):
            tail = f"{cause.message}\n{cause.tail}"
            return BootError(known.message, hint=known.hint, log=cause.log, tail=tail)
    return cause


def start(emulator: Emulator, kernel: Path, *, adb_port: int, scratch: Path, log: Path) -> Machine:
    """Start the emulator with `kernel` and a fresh /data, whose image is in `scratch`.

    Raises BootError if it cannot be started, InfrastructureError if the AVD has no images.
    """
    require("setpriv")
    if not kernel.is_file():
        raise BootError(f"there is no {kernel} to boot")
    sdk, avd = emulator.sdk, emulator.avd
    image, data = data_image(sdk, avd), scratch / "userdata.img"
    # As a sparse file: most of it is zeros.
    run(["cp", "--sparse=always", image, data], what="copy the AVD's userdata.img")
    data.chmod(0o600)
    port = free_port_pair()
    health = _EmulatorHealth()
    words = emulator_argv(sdk, avd, emulator.machine, kernel, port, data)
    console = Console(words, log, health, _environment(sdk, adb_port))
    health.console = console
    return Machine(console, health, port)


def _environment(sdk: Sdk, adb_port: int) -> dict[str, str]:
    """Build the emulator's environment."""
    own = {
        # The emulator registers itself with our adb server, not with the user's.
        "ANDROID_ADB_SERVER_PORT": str(adb_port),
        # Old emulators inspect the file $SHELL to detect a 32-bit system; it may be unset.
        "SHELL": "/bin/sh",
    }
    # The emulator finds its images by one of the two: both name the same folder.
    roots = ("ANDROID_HOME", "ANDROID_SDK_ROOT") if sdk.root is not None else ()
    return environment_of(sdk.emulator, {**own, **dict.fromkeys(roots, str(sdk.root))})
