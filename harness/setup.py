# SPDX-License-Identifier: MIT
"""Installing the Debian packages that are missing, and saying so beforehand."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from harness import debian, git_source, packages, process
from harness.errors import InfrastructureError
from harness.targets import DebianSource, Target
from harness.workspace import Workspace

_DAY = 86400.0
# Debian brings out a kernel about that often.
_STALE_SECONDS = 7 * _DAY
# Older lists name packages that the mirror has replaced since.
_FRESH_SECONDS = 1 * _DAY
# A name is a name, also where no package has it: apt would take it for a pattern.
_NAMES_ONLY = ("-o", "APT::Cmd::Pattern-Only=true")
_APT = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", *_NAMES_ONLY)
# apt and its packages ask no questions.
_APT_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}


def run(ws: Workspace, target: Target) -> None:
    """Installs what `target` needs and is missing, as root or through sudo.

    It also asks Debian for the kernel's source where that was long ago. Raises
    InfrastructureError where apt fails, and where neither root nor sudo
    is to be had (its hint is what to type).
    """
    missing = packages.missing(target.compilers)
    commands = _commands(missing)
    if commands:
        _install(ws, commands)
    if isinstance(target.source, DebianSource):
        _ask_for_source(ws, target.source)
    if not missing:
        ws.reporter.result("setup: nothing to install")


def _ask_for_source(ws: Workspace, source: DebianSource) -> None:
    """Has the newest source known; one that is known already serves without a network."""
    known = debian.known(ws, source.package, source.suite)
    if known is not None and known.age < _STALE_SECONDS:
        return
    try:
        with ws.reporter.phase(f"ask Debian for {source.package}"):
            found = debian.ask(ws, source.package, source.suite)
    except InfrastructureError as error:
        instead = f"{known.package.version} is taken" if known else git_source.OTHER_SOURCE
        ws.reporter.say(f"warning: {error.message}; {instead}")
    else:
        ws.reporter.say(f"source of the kernel: {found.name} {found.version}")


def _commands(missing: Sequence[str]) -> list[tuple[str, ...]]:
    """What apt-get is to do, in order; nothing where nothing is missing."""
    age = packages.lists_age()
    commands: list[tuple[str, ...]] = []
    if missing:
        if age > _FRESH_SECONDS:
            commands.append((*_APT, "update"))
        commands.append((*_APT, "install", "--no-install-recommends", *missing))
    return commands


def _install(ws: Workspace, commands: Sequence[tuple[str, ...]]) -> None:
    """Runs the commands as root, however root is to be had."""
    if shutil.which("apt-get") is None:
        raise InfrastructureError(
            "this system has no apt-get",
            hint="install what `./inv doctor` names with this system's own package manager",
        )
    sudo, asks = _sudo()
    if sudo is None:
        typed = " && ".join(shlex.join(command) for command in commands)
        raise InfrastructureError(
            "packages are missing, and neither root nor sudo is here", hint=f"as root: {typed}"
        )
    for command in commands:
        argv = (*sudo, *command)
        ws.reporter.say(f"$ {shlex.join(argv)}")
        _apt_get(ws, argv, asks)


def _sudo() -> tuple[tuple[str, ...] | None, bool]:
    """What makes a command run as root (None: nothing does), and whether it asks."""
    if os.geteuid() == 0:
        return (), False
    if shutil.which("sudo") is None:
        return None, False
    environment = (f"{name}={value}" for name, value in _APT_ENVIRONMENT.items())
    command = ("sudo", "env", *environment)
    if process.run(["sudo", "-n", "true"], check=False).status == 0:
        return command, False
    return (command, True) if sys.stdin.isatty() else (None, False)


def _apt_get(ws: Workspace, argv: Sequence[str], asks: bool) -> None:
    """Runs one apt-get command.

    An update that fails is only told of: one source of many may be out of
    reach, and what follows shows whether it was needed.
    """
    what = f"apt-get {'update' if 'update' in argv else 'install'}"
    log = ws.logs / "apt.log"
    if asks:
        # sudo asks for a password on the terminal, and apt prints there, too.
        if process.run_on_terminal(argv) != 0 and "update" not in argv:
            raise InfrastructureError(f"{what} failed", hint="see above")
        return
    try:
        with ws.reporter.phase(what):
            process.run(argv, env=_APT_ENVIRONMENT, log=log, error=InfrastructureError, what=what)
    except InfrastructureError as error:
        if "update" not in argv:
            raise
        ws.reporter.say(f"warning: {error}")
