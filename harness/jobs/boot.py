# SPDX-License-Identifier: MIT
"""The `boot` task: a shell on the patched kernel, for a person or a script."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

from harness.build import equipment, rootfs
from harness.core.errors import EXIT_PASSED, UsageError
from harness.core.paths import RESULTS
from harness.machine.adb import Device
from harness.machine.session import Session, bring, check_machine, open_session
from harness.scenarios.catalogue import UIDS, Modules
from harness.scenarios.script import modules_command
from harness.targets.model import Target
from harness.ui.workspace import Workspace

ROOT = "root"
# What adb ends with when the shell did. It ends with 1 where it fails itself, and
# with 0 where the connection breaks.
_ENDED = 42


def run(
    ws: Workspace,
    target: Target,
    user: str,
    source: str | None = None,
    avd: str | None = None,
    snapshot: bool = True,
) -> int:
    """Builds what is out of date, boots it, and gives a shell as `user` on it.

    `user` is a name that the guest knows, or a uid. The modules are loaded and
    the test programs lie in the shell's folder. When the shell ends, the
    machine does. Raises UsageError for an unknown user, and whatever building
    and booting raise; the first cause if the machine goes down meanwhile.
    """
    check_user(user)
    if ws.reporter.is_json:
        raise UsageError("boot gives a shell, which has stdout to itself", hint="without --json")
    check_machine(target, avd)
    equipped = equipment.build(ws, target, source)
    release = equipped.kernel.release
    with open_session(
        ws,
        equipped.kernel.image,
        equipped.initramfs,
        target,
        folder=_folder(target),
        expect_release=release,
        tools=equipped.rootfs.tools,
        avd_name=avd,
        snapshot=snapshot,
        uids=UIDS,
    ) as session:
        bring(session.device, equipped.bootable.pushed, target)
        session.device.shell(modules_command(Modules(loaded=True)))
        ws.reporter.say(f"{user} on {release}; `exit` ends it; console: {session.console_log}")
        _shell(session, user)
    return EXIT_PASSED


def check_user(user: str) -> None:
    """Raises UsageError if the guest has no `user` and it is no uid."""
    known = {name for name, _, _ in rootfs.users()}
    if user not in known and not (user.isascii() and user.isdigit()):
        raise UsageError(
            f"no user is called {user!r}",
            hint=f"root, shell, u0_a0 to u0_a{rootfs.APP_USERS - 1}, or a uid",
        )


def shell_command(device: Device, user: str, *, terminal: bool) -> list[str]:
    """The stock adb program's command line for a shell on the device.

    However the shell ends, its status is _ENDED; by the first shell protocol, 0.
    """
    # By number: an Android does not list its users.
    uid = {name: number for name, number, _ in rootfs.users()}.get(user, user)
    shell = rootfs.SHELL if user == ROOT else f"su {uid}"
    login = f"{device.prelude}cd {rootfs.HOME} && {shell}; exit {_ENDED}"
    # -t: a terminal over there as well, whose Ctrl-C is the guest's; -T: none, which
    # an adbd of the first shell protocol refuses.
    mode = ["-t"] if terminal else [] if device.legacy_shell else ["-T"]
    return ["adb", "-P", str(device.server.port), "-s", device.address, "shell", *mode, login]


def _folder(target: Target) -> Path:
    """A folder for the logs, among the results."""
    return RESULTS / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{target.name}-boot"


def _shell(session: Session, user: str) -> None:
    """Passes our terminal, or our standard input and output, through to the device.

    How the shell ends is the caller's business. Raises DeviceError if adb failed to
    run it, or lost it; the first cause if there is one.
    """
    device, terminal = session.device, sys.stdin.isatty()
    argv, env = shell_command(device, user, terminal=terminal), device.server.environment()
    # The first shell protocol cannot pass the end of our input on: it is said in words.
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
