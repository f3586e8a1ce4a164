# SPDX-License-Identifier: MIT
"""Installing the Debian packages that are missing, and saying so beforehand."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from harness.build import debian, git_source
from harness.core import process
from harness.core.errors import InfrastructureError
from harness.core.tools import FOR_TESTS, TOOL_PACKAGES
from harness.jobs import packages
from harness.targets.model import DebianSource, Target
from harness.ui.workspace import Workspace

_DAY = 86400.0
# Debian brings out a kernel about that often.
_STALE_SECONDS = 7 * _DAY
# Older lists name packages that the mirror has replaced since.
_FRESH_SECONDS = 1 * _DAY
# A name is a name, also where no package has it: apt would take it for a pattern.
_NAMES_ONLY = ("-o", "APT::Cmd::Pattern-Only=true")
_APT = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", *_NAMES_ONLY)
_INSTALL = (*_APT, "install", "--no-install-recommends")
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
    optional = {TOOL_PACKAGES[tool] for tool in FOR_TESTS}
    groups = [[package for package in missing if package not in optional]]
    groups += [[package] for package in missing if package in optional]
    commands = [(*_INSTALL, *group) for group in groups if group]
    if commands and packages.lists_age() > _FRESH_SECONDS:
        commands.insert(0, (*_APT, "update"))
    return commands


def _may_fail(command: Sequence[str]) -> bool:
    """Whether the main task can do without what the command does.

    Of many sources in an update one may be out of reach; and Ubuntu, for one, has
    no Chromium but as a snap.
    """
    optional = {TOOL_PACKAGES[tool] for tool in FOR_TESTS}
    return "update" in command or optional.issuperset(command[len(_INSTALL) :])


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
        try:
            _apt_get(ws, argv, asks)
        except InfrastructureError as error:
            if not _may_fail(command):
                raise
            ws.reporter.say(f"warning: {error}")


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
    """Runs one apt-get command; raises InfrastructureError where it fails."""
    what = f"apt-get {'update' if 'update' in argv else 'install'}"
    if asks:
        # sudo asks for a password on the terminal, and apt prints there, too.
        if process.run_on_terminal(argv) != 0:
            raise InfrastructureError(f"{what} failed", hint="see above")
        return
    log = ws.logs / "apt.log"
    with ws.reporter.phase(what):
        process.run(argv, env=_APT_ENVIRONMENT, log=log, error=InfrastructureError, what=what)
