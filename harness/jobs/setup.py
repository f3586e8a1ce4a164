# SPDX-License-Identifier: MIT
"""The `setup` task: installs the Debian packages that are missing; prints each command first."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from harness.build import debian, git_source
from harness.core.errors import InfrastructureError
from harness.core.tools import FOR_TESTS, TOOL_PACKAGES, needed_files, needed_tools
from harness.jobs.host import THIS_HOST, Host
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
# The packages that emulator-test can do without.
_OPTIONAL = frozenset(TOOL_PACKAGES[tool] for tool in FOR_TESTS)
# apt and its packages ask no questions.
_APT_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}


def run(ws: Workspace, target: Target, host: Host = THIS_HOST) -> None:
    """Install what `target` needs and is missing, as root or through sudo.

    Also ask Debian for the newest kernel source, if the last answer is old. Raise
    InfrastructureError if apt fails, or if there is neither root nor sudo (the hint is what to
    type as root).
    """
    missing = missing_packages(host, target.compilers)
    commands = _commands(host, missing)
    if commands:
        _install(ws, host, commands)
    if isinstance(target.source, DebianSource):
        _ask_for_source(ws, target.source)
    if not missing:
        ws.reporter.result("setup: nothing to install")


def missing_packages(host: Host, compilers: Iterable[str]) -> tuple[str, ...]:
    """Return the Debian packages that are needed with these cross compilers, and not installed.

    A cross compiler that Debian does not have is left to the user.
    """
    missing = {
        package
        for tool, package in needed_tools(compilers).items()
        if package is not None and host.find_tool(tool) is None
    }
    missing |= {
        package for path, package in needed_files(compilers).items() if not host.exists(path)
    }
    return tuple(sorted(missing))


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


def _commands(host: Host, missing: Sequence[str]) -> list[tuple[tuple[str, ...], bool]]:
    """Return the apt-get commands to run, in order, each with whether it may fail.

    An update may fail because one of many package sources is out of reach. Of the optional
    packages, Ubuntu, for example, has Chromium only as a snap.
    """
    groups = [[package for package in missing if package not in _OPTIONAL]]
    groups += [[package] for package in missing if package in _OPTIONAL]
    commands = [((*_INSTALL, *group), _OPTIONAL.issuperset(group)) for group in groups if group]
    if commands and host.lists_age() > _FRESH_SECONDS:
        commands.insert(0, ((*_APT, "update"), True))
    return commands


def _install(ws: Workspace, host: Host, commands: Sequence[tuple[tuple[str, ...], bool]]) -> None:
    """Run the commands as root, or through sudo."""
    if host.find_tool("apt-get") is None:
        raise InfrastructureError(
            "this system has no apt-get",
            hint="install what `./inv doctor` names with this system's own package manager",
        )
    sudo, asks = _sudo(host)
    if sudo is None:
        typed = " && ".join(shlex.join(command) for command, _ in commands)
        raise InfrastructureError(
            "packages are missing, and neither root nor sudo is here", hint=f"as root: {typed}"
        )
    for command, may_fail in commands:
        argv = (*sudo, *command)
        ws.reporter.say(f"$ {shlex.join(argv)}")
        try:
            _apt_get(ws, host, argv, asks)
        except InfrastructureError as error:
            if not may_fail:
                raise
            ws.reporter.say(f"warning: {error}")


def _sudo(host: Host) -> tuple[tuple[str, ...] | None, bool]:
    """Return the prefix that runs a command as root (None: none does), and whether it asks."""
    if host.is_root():
        return (), False
    if host.find_tool("sudo") is None:
        return None, False
    environment = (f"{name}={value}" for name, value in _APT_ENVIRONMENT.items())
    command = ("sudo", "env", *environment)
    if host.run(["sudo", "-n", "true"]).status == 0:
        return command, False
    return (command, True) if host.has_terminal() else (None, False)


def _apt_get(ws: Workspace, host: Host, argv: Sequence[str], asks: bool) -> None:
    """Run one apt-get command; raise InfrastructureError if it fails."""
    what = f"apt-get {'update' if 'update' in argv else 'install'}"
    if asks:
        # sudo asks for a password on the terminal, and apt prints there, too.
        if host.run_on_terminal(argv) != 0:
            raise InfrastructureError(f"{what} failed", hint="see above")
        return
    with ws.reporter.phase(what):
        host.run_logged(argv, env=_APT_ENVIRONMENT, log=ws.logs / "apt.log", what=what)
