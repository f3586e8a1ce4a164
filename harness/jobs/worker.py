# SPDX-License-Identifier: MIT
"""The `worker` task: this machine runs guests, and builds, for the sweeps of a scheduler."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.core.errors import EXIT_INFRASTRUCTURE, InfrastructureError, UsageError
from harness.core.tools import FOR_TESTS, LLVM, LLVM_PACKAGES, needed_files, needed_tools
from harness.jobs.host import THIS_HOST, Host
from harness.jobs.pool import MOST_GUESTS, count_of
from harness.sweep import announced
from harness.sweep.address import NO_TLS, Tls, checked
from harness.sweep.cell import Cell
from harness.sweep.cluster.loop import PATIENCE_SECONDS
from harness.sweep.cluster.serving import WorkerOptions, serve
from harness.sweep.work import Here
from harness.targets.model import QemuMachine, Target
from harness.targets.table import TARGETS, get_target
from harness.ui.workspace import Workspace

# What a guest needs besides its kernel's QEMU.
_FOR_GUESTS = ("adb", "qemu-img", "setpriv")
_SETUP = "./inv setup"


@dataclass(frozen=True)
class Ability:
    """What a machine can do: the number of guests, and which kernels it can boot and build.

    `builds` are names as Build.compiled has them. `lacks` has what is missing for the others.
    """

    guests: int
    boots: tuple[str, ...]
    builds: tuple[str, ...]
    lacks: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What it can do and what it lacks, for people, on one line."""
        guests = f"can run {self.guests} guest{'s' * (self.guests != 1)}"
        only = "" if len(self.boots) == len(TARGETS) else f" of {', '.join(self.boots)} alone"
        if not self.builds:
            return f"{guests}{only}; cannot build{self._why}"
        whole = len(self.builds) == len(_compiled(TARGETS))
        which = "" if whole else f" {', '.join(self.builds)} alone"
        return f"{guests}{only}; can build{which}{self._why}"

    @property
    def _why(self) -> str:
        if not self.lacks:
            return ""
        are = "is" if len(self.lacks) == 1 else "are"
        setup = f"{_SETUP} --toolchain {LLVM}" if set(self.lacks) <= set(LLVM_PACKAGES) else _SETUP
        return f": {', '.join(self.lacks)} {are} missing ({setup})"


def _compiled(targets: Mapping[str, Target]) -> dict[str, Target]:
    """Return all that can be built of kernels: each of them, and again for clang."""
    clang = {name: one.with_toolchain(LLVM) for name, one in targets.items() if not one.no_llvm}
    return {**targets, **{f"{name} {LLVM}": one for name, one in clang.items()}}


def ability(
    jobs: str = "", *, build: bool = True, host: Host = THIS_HOST, targets: Mapping[str, Target]
) -> Ability:
    """Look at this machine; `jobs` is the number of guests as in pool.count_of().

    Raise UsageError if that is wrong, and InfrastructureError if no guest can run here.
    """
    missing = _missing(host, _FOR_GUESTS)
    machines = {name: one.machine for name, one in targets.items()}
    binaries = {n: one.binary for n, one in machines.items() if isinstance(one, QemuMachine)}
    boots = tuple(name for name, binary in binaries.items() if not _missing(host, [binary]))
    if missing or not boots:
        missing += _missing(host, sorted(set(binaries.values())))
        what = f"no guest can run here: not installed: {', '.join(missing)}"
        raise InfrastructureError(what, hint=_SETUP)
    guests = min(count_of(jobs, targets[name], MOST_GUESTS) for name in boots)
    lacks = {binary for name, binary in binaries.items() if name not in boots}
    builds = []
    for name, target in _compiled(targets).items() if build else ():
        needed = _needed_for_build(host, target.compilers)
        lacks |= set(needed)
        if not needed:
            builds.append(name)
    return Ability(guests, boots, tuple(builds), tuple(sorted(lacks)))


def guests_for(cells: Sequence[Cell], jobs: str = "") -> int:
    """Return how many guests this machine runs side by side, whichever of the cells they are of.

    `jobs` is as in pool.count_of(). Raise UsageError if it is wrong.
    """
    return min(count_of(jobs, target, MOST_GUESTS) for target in map(_booted, cells))


def _booted(cell: Cell) -> Target:
    """Return what a cell boots: emulator-test has few scenarios that need more than one CPU."""
    target = get_target(cell.build.kernel)
    if cell.task != "emulator-test" or "--debug" in cell.build.words:
        return target
    return target.with_one_cpu()


def _missing(host: Host, tools: Iterable[str]) -> list[str]:
    return [tool for tool in tools if host.find_tool(tool) is None]


def _needed_for_build(host: Host, compilers: Iterable[str]) -> list[str]:
    """Return the programs and files that are missing here for these compilers."""
    prefixes = tuple(compilers)
    tools = _missing(host, (one for one in needed_tools(prefixes) if one not in FOR_TESTS))
    return [*tools, *(path for path in needed_files(prefixes) if not host.exists(path))]


@dataclass(frozen=True)
class Options:
    """The options of the task. An empty `name` means one of this host and process."""

    scheduler: str
    jobs: str = ""
    name: str = ""
    build: bool = True
    tls: Tls = NO_TLS
    patience: float = PATIENCE_SECONDS


def run(ws: Workspace, options: Options, host: Host = THIS_HOST) -> int:
    """Be a worker until a signal ends it, or the scheduler goes away; return the exit status.

    Raise UsageError for wrong options, and InfrastructureError if no guest can run here or no
    scheduler answers.
    """
    address = checked(options.scheduler, options.tls)
    if not options.name.isprintable():
        raise UsageError(f"not a name: {options.name!a}", hint="--name of letters and digits")
    can = ability(options.jobs, build=options.build, host=host, targets=TARGETS)
    name = options.name or f"{platform.node()}-{os.getpid()}"
    code = announced.this_code()
    resources = announced.announced(code, can.guests, can.boots, can.builds)
    served = WorkerOptions(address, name, resources, options.tls, options.patience)
    here = Here(ws.cache, changed=lambda: announced.is_changed(code))
    serve(served, here, lambda: ws.reporter.say(f"{name} at {address}: {can.line}"))
    ws.reporter.result(f"the scheduler {address} went away")
    return EXIT_INFRASTRUCTURE
