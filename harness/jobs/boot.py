# SPDX-License-Identifier: MIT
"""The `boot` task: a shell on the patched kernel, for a person or a script."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

from harness.build import equipment, rootfs
from harness.core.errors import EXIT_PASSED, UsageError
from harness.jobs.options import BootOptions
from harness.jobs.pool import boot_of
from harness.machine.adb import Device
from harness.machine.session import Session, check_machine, open_session
from harness.scenarios.catalogue import Modules
from harness.scenarios.script import modules_command
from harness.targets.model import DEVICE_FOLDER
from harness.ui.workspace import Workspace

ROOT = "root"
# adb's exit status when the shell has ended. adb ends with 1 if it fails itself, and with 0 if
# the connection breaks.
_ENDED = 42


def run(ws: Workspace, options: BootOptions) -> int:
    """Build what is out of date, boot it, and give a shell on it.

    The modules are loaded, and the test programs are in the shell's folder. When the shell ends,
    the machine does. Raise UsageError for an unknown user. Errors of building and booting pass
    through; if the machine fails meanwhile, raise the error that came first.
    """
    target, user = options.target, options.user
    check_user(user)
    if ws.reporter.is_json:
        raise UsageError("boot gives a shell, which has stdout to itself", hint="without --json")
    check_machine(target, options.avd)
    files = equipment.build(ws, target, options.source).bootable
    logs = options.results / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{target.name}-boot"
    boot = boot_of(target, files, options.snapshot, options.avd)
    with open_session(ws, boot, logs) as session:
        session.device.shell(modules_command(Modules(loaded=True)))
        ws.reporter.say(
            f"{user} on {files.release}; `exit` ends it; console: {session.console_log}"
        )
        _shell(session, user)
    return EXIT_PASSED


def check_user(user: str) -> None:
    """Raise UsageError if `user` is neither a user of the guest nor a uid."""
    known = {name for name, _, _ in rootfs.users()}
    if user not in known and not (user.isascii() and user.isdigit()):
        raise UsageError(
            f"no user is called {user!r}",
            hint=f"root, shell, u0_a0 to u0_a{rootfs.APP_USERS - 1}, or a uid",
        )


def shell_command(device: Device, user: str, *, terminal: bool) -> list[str]:
    """Return the stock adb program's command line for a shell on the device.

    However the shell ends, adb's exit status is _ENDED; with the first shell protocol it is 0.
    """
    # By uid: Android does not list its users.
    uid = {name: number for name, number, _ in rootfs.users()}.get(user, user)
    shell = rootfs.SHELL if user == ROOT else f"su {uid}"
    login = f"{device.prelude}cd {DEVICE_FOLDER} && {shell}; exit {_ENDED}"
    # -t: a terminal on the device, too, so that Ctrl-C goes to the guest. -T: no terminal; an
    # adbd with the first shell protocol refuses this option.
    mode = ["-t"] if terminal else [] if device.legacy_shell else ["-T"]
    return ["adb", "-P", str(device.server.port), "-s", device.address, "shell", *mode, login]


def _shell(session: Session, user: str) -> None:
    """Connect our terminal, or our standard input and output, to a shell on the device.

    The exit status of the shell does not matter. Raise DeviceError if adb failed to run the
    shell or lost it, or the error of the machine if one came first.
    """
    device, terminal = session.device, sys.stdin.isatty()
    argv, env = shell_command(device, user, terminal=terminal), device.server.environment()
    # The first shell protocol cannot pass on the end of our input: `exit` says it instead.
    said = device.legacy_shell and not terminal
    script = sys.stdin.buffer.read() + b"\nexit\n" if said else None
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE if said else None) as client:
        try:
            client.communicate(script)
        finally:
            client.terminate()
    session.check()
    if client.returncode != (0 if device.legacy_shell else _ENDED):
        device.fail_lost("the shell", f"adb ended with status {client.returncode}", tail="")
    device.check_answers("the shell")
