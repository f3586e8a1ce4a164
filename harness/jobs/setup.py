# SPDX-License-Identifier: MIT
"""The `setup` task: installs the Debian packages that are missing; prints each command first."""

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
# Debian releases a kernel about that often.
_STALE_SECONDS = 7 * _DAY
# Older lists name package versions that the mirror has replaced since.
_FRESH_SECONDS = 1 * _DAY
# Without this, apt takes a name that no package has for a pattern.
_NAMES_ONLY = ("-o", "APT::Cmd::Pattern-Only=true")
_APT = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", *_NAMES_ONLY)
_INSTALL = (*_APT, "install", "--no-install-recommends")
# apt and its packages ask no questions.
_APT_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}


def run(ws: Workspace, target: Target) -> None:
    """Install what `target` needs and is missing, as root or through sudo.

    Also ask Debian for the newest kernel source, if the last answer is old. Raise
    InfrastructureError if apt fails, or if there is neither root nor sudo (the hint is what to
    type as root).
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
    """Find the newest source; if Debian cannot be asked, only warn: runs take the known one."""
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
    """Return the apt-get commands to run, in order; none if nothing is missing."""
    optional = {TOOL_PACKAGES[tool] for tool in FOR_TESTS}
    groups = [[package for package in missing if package not in optional]]
    groups += [[package] for package in missing if package in optional]
    commands = [(*_INSTALL, *group) for group in groups if group]
    if commands and packages.lists_age() > _FRESH_SECONDS:
        commands.insert(0, (*_APT, "update"))
    return commands


def _may_fail(command: Sequence[str]) -> bool:
    """Return whether emulator-test can do without what the command does.

    An update may fail because one of many package sources is out of reach. Of the optional
    packages, Ubuntu, for example, has Chromium only as a snap.
    """
    optional = {TOOL_PACKAGES[tool] for tool in FOR_TESTS}
    return "update" in command or optional.issuperset(command[len(_INSTALL) :])


def _install(ws: Workspace, commands: Sequence[tuple[str, ...]]) -> None:
    """Run the commands as root, or through sudo."""
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
    """Return the prefix that runs a command as root (None: none does), and whether it asks."""
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
    """Run one apt-get command; raise InfrastructureError if it fails."""
    what = f"apt-get {'update' if 'update' in argv else 'install'}"
    if asks:
        # sudo asks for a password on the terminal, and apt prints there, too.
        if process.run_on_terminal(argv) != 0:
            raise InfrastructureError(f"{what} failed", hint="see above")
        return
    log = ws.logs / "apt.log"
    with ws.reporter.phase(what):
        options = process.RunOptions(env=_APT_ENVIRONMENT)
        process.run(argv, options, log=log, error=InfrastructureError, what=what)
