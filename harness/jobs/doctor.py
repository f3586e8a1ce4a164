# SPDX-License-Identifier: MIT
"""The `doctor` task: checks what is here and what is missing, and says what to run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.build import debian, git_source, ndk, rootfs
from harness.build.git_source import OTHER_SOURCE
from harness.core import process, typed_json
from harness.core.errors import EXIT_INFRASTRUCTURE, EXIT_PASSED, HarnessError, InfrastructureError
from harness.core.paths import RESULTS, RESULTS_HINT
from harness.core.tools import FOR_TESTS, needed_files, needed_tools
from harness.jobs.host import THIS_HOST, Host
from harness.machine import sdk
from harness.targets.model import DebianSource, GitSource, SdkMachine, Target
from harness.ui.progress import reporter_of
from harness.ui.workspace import Workspace

_GIB = 1 << 30
# First: the kernel's archive, two trees, a build and the guest. Later: what a rebuild takes.
_DISK_FIRST = 6 * _GIB
_DISK_LATER = 2 * _GIB
# For QEMU, the compiler and the harness, besides the guest's own memory.
_MEMORY_BESIDE_GUEST = _GIB
_OLDEST_PYTHON = (3, 11)
# The systems on which the project is tested: ID and VERSION_ID in /etc/os-release.
_TRIED = (("debian", "12"), ("debian", "13"))
# Programs that print their version with another argument than --version.
_VERSION_ARGUMENT: Mapping[str, str] = {"adb": "version", "bison": "-V", "perl": "-V:version"}
_VERSION_SECONDS = 60.0
# adb prints the version of its protocol first.
_ADB_VERSION = re.compile(r"^Version \d+(\.\d+)+", re.MULTILINE)
_VERSION = re.compile(r"\d+(\.\d+)+")
# The dynamic loader of 32-bit x86 programs.
_LOADER_32 = "/lib/ld-linux.so.2"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    If it is not `ok`, `fix` is the command to run, or what to do. The default job can run
    without what is not `required`.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True


def _there(name: str, there: bool, missing: str, fix: str) -> Finding:
    """Return a finding of what needs no explanation if it is there."""
    return Finding(name, True, "here") if there else Finding(name, False, missing, fix)


def _look(name: str, look: Callable[[], str | None]) -> Finding:
    """Return what `look` finds, or what its error says."""
    try:
        return Finding(name, True, look() or "here")
    except HarnessError as error:
        return Finding(name, False, error.message, error.hint)


def run(
    ws: Workspace,
    target: Target,
    source: str | None = None,
    *,
    as_json: bool = False,
    host: Host = THIS_HOST,
    results: Path = RESULTS,
) -> int:
    """Report all findings; return 0 if the default job can run, and 3 if not."""
    # Messages from asking the archive would come before the JSON object.
    asking = replace(ws, reporter=reporter_of("quiet")) if as_json else ws
    findings = list(examine(asking, target, source, host, results))
    ready = all(finding.ok for finding in findings if finding.required)
    ws.reporter.result(_as_json(findings, ready) if as_json else _as_text(findings, ready))
    return EXIT_PASSED if ready else EXIT_INFRASTRUCTURE


def examine(
    ws: Workspace,
    target: Target,
    source: str | None = None,
    host: Host = THIS_HOST,
    results: Path = RESULTS,
) -> Iterator[Finding]:
    """Check everything that the default job needs."""
    yield _system(host)
    yield _python(host)
    yield from _tools(host, target)
    yield from _files(host, target)
    yield _look("pseudo-terminals", host.check_terminals)
    yield _look("loopback network", host.check_loopback)
    yield from _folders(ws, host, results)
    yield _kernel_source(ws, target, source)
    yield _guest_packages(ws, target)
    yield from _ndk(target)
    if isinstance(target.machine, SdkMachine):
        yield from _sdk(host, target.machine)
    yield _disk(ws, host)
    yield _memory(host, target)


def _system(host: Host) -> Finding:
    """Check the distribution; if the project is not tested on it, say what may differ."""
    fields = host.os_release()
    name = fields.get("PRETTY_NAME", "unknown")
    if (fields.get("ID"), fields.get("VERSION_ID")) in _TRIED:
        return Finding("system", True, name)
    if host.find_tool("apt-get") is None:
        fix = "install what is missing with this system's own package manager"
        return Finding("system", False, f"{name}: has no apt-get", fix, required=False)
    detail = f"{name}: tried on Debian 12 and 13 only; compilers, QEMU and adb may differ here"
    return Finding("system", True, detail, required=False)


def _python(host: Host) -> Finding:
    """Check the version of Python."""
    version = host.python()
    major, minor = version.split(".")[:2]
    return Finding("python", (int(major), int(minor)) >= _OLDEST_PYTHON, version)


def _tools(host: Host, target: Target) -> Iterator[Finding]:
    """Check every program that the harness runs, and its version."""
    for tool, package in needed_tools(target.compilers).items():
        path = host.find_tool(tool)
        if path is not None:
            found = _look(tool, partial(_tool_version, host, tool, path))
        elif package is not None:
            missing = f"not installed (package {package})"
            found = Finding(tool, False, missing, target.setup_command)
        else:
            found = Finding(tool, False, "not installed", process.LOOK_AT_PREFIX)
        yield replace(found, required=tool not in FOR_TESTS)


def _tool_version(host: Host, tool: str, path: str) -> str:
    """Return the version that the program prints; "here" if it prints none."""
    argument = _VERSION_ARGUMENT.get(tool, "--version")
    said = host.run([path, argument], timeout=_VERSION_SECONDS)
    if said.status != 0:
        return "here"
    found = _ADB_VERSION.search(said.output) or _VERSION.search(said.output)
    return found[0].removeprefix("Version ") if found else "here"


def _files(host: Host, target: Target) -> Iterator[Finding]:
    """Check the packages that have a file to look for, and no program."""
    for path, package in needed_files(target.compilers).items():
        missing = f"not installed ({path} is missing)"
        yield _there(package, host.exists(path), missing, target.setup_command)


def _kernel_source(ws: Workspace, target: Target, source: str | None) -> Finding:
    """Check whether the kernel's source is available."""
    name = f"source of {target.name}"
    found = _look(name, lambda: _own_source(ws, target.source) if source is None else source)
    if found.ok or OTHER_SOURCE in found.fix:
        return found
    return replace(found, fix=f"{found.fix}; or {OTHER_SOURCE}".removeprefix("; or "))


def _own_source(ws: Workspace, source: DebianSource | GitSource) -> str:
    """Return the source that a run would take; ask the archive or server, as the run would."""
    if isinstance(source, GitSource):
        return f"{source.url} at {git_source.commit_of(ws, source)[:12]}"
    known = debian.known(ws, source.package, source.suite)
    if known is not None and ws.cache.path("sources", known.package.key).is_dir():
        return f"{source.package} {known.package.version}, in the cache"
    package = debian.ask(ws, source.package, source.suite)
    return f"{package.name} {package.version}, from {source.suite}"


def _guest_packages(ws: Workspace, target: Target) -> Finding:
    """Check whether the packages that the guest is made of are available."""

    def look() -> str:
        if rootfs.has_packages(ws, target):
            return "in the cache"
        suite, package = rootfs.find_packages(ws, target)
        return f"{package.name} {package.version} and others, from {suite}"

    return _look("packages of the guest", look)


def _folders(ws: Workspace, host: Host, results: Path) -> Iterator[Finding]:
    """Check whether the cache and the results can be written."""
    for name, folder, fix in (
        ("cache", ws.cache.root, "set XDG_CACHE_HOME to a folder that you may write to"),
        ("results", results, RESULTS_HINT),
    ):
        try:
            host.check_writable(folder)
        except OSError as error:
            yield Finding(name, False, f"cannot write to {folder}: {error.strerror}", fix)
        else:
            yield Finding(name, True, str(folder))


def _ndk(target: Target) -> Iterator[Finding]:
    """Check the NDK, for targets whose test programs it can build; Debian's compiler can, too.

    Debian's compiler is needed even with an NDK, for the guest's su.
    """
    if target.ndk_abi is None:
        return

    def look() -> str:
        found = ndk.find()
        if found is None:
            return "none; Debian's compiler is taken"
        return f"{found.revision} ({found.build}); su of the guest takes Debian's compiler"

    finding = _look("Android NDK", look)
    yield replace(finding, required=not finding.ok)


def _sdk(host: Host, machine: SdkMachine) -> Iterator[Finding]:
    """Check the Android Emulator and its virtual devices."""
    try:
        found = sdk.find()
    except InfrastructureError as error:
        yield Finding("Android SDK", False, error.message, error.hint)
        return
    yield Finding("Android SDK", True, f"emulator {found.version_text}: {found.emulator}")
    if not found.has_classic_engine:
        hint = f"goldfish boots on {sdk.GOOD_RELEASES}"
        yield Finding("classic engine", False, f"gone from emulator {found.version_text}", hint)
    if found.is_32_bit:
        yield from _old_launcher(host)
    yield _avd(found, machine)


def _old_launcher(host: Host) -> Iterator[Finding]:
    """Check what the 32-bit launcher needs: to start, and to find the 64-bit emulator."""
    loader, file = host.exists(_LOADER_32), host.find_tool("file") is not None
    yield _there("32-bit programs", loader, "not installed", f"apt-get install {sdk.PACKAGES_32}")
    yield _there("file", file, "not installed", "apt-get install file")


def _avd(found: sdk.Sdk, machine: SdkMachine) -> Finding:
    """Check the virtual device that a run without --avd takes."""

    def look() -> str:
        chosen = sdk.choose_avd(sdk.list_avds(), machine, None)
        sdk.data_image(found, chosen)
        return chosen.name

    return _look("AVD", look)


def _disk(ws: Workspace, host: Host) -> Finding:
    """Check whether what is built fits on the cache's disk."""
    root = ws.cache.root
    needed = _DISK_LATER if (root / "sources").is_dir() else _DISK_FIRST
    fix = "free some space, or set XDG_CACHE_HOME to a larger disk"
    return _enough("disk", host.free_disk(root), needed, f"free in {root}", fix)


def _memory(host: Host, target: Target) -> Finding:
    """Check whether the guest fits into this machine's memory."""
    needed = (target.machine.memory_mib << 20) + _MEMORY_BESIDE_GUEST
    return _enough("memory", host.free_memory(), needed, "available", "end other programs")


def _enough(name: str, free: int, needed: int, where: str, fix: str) -> Finding:
    """Check whether so many bytes are free."""
    detail = f"{free / _GIB:.1f} GiB {where}, {needed / _GIB:.0f} needed"
    return Finding(name, free >= needed, detail, "" if free >= needed else fix)


def _to_do(findings: list[Finding]) -> list[str]:
    """Return what to run or do, each once, in the order of the findings."""
    return list(dict.fromkeys(finding.fix for finding in findings if finding.fix))


def _as_json(findings: list[Finding], ready: bool) -> str:
    """Return one object: `ready`, `findings`, and `to_do`, the fixes."""
    found = {"ready": ready, "findings": findings, "to_do": _to_do(findings)}
    return typed_json.to_text(found).rstrip()


def _as_text(findings: list[Finding], ready: bool) -> str:
    """Return a line for each finding, and what to do."""
    width = max(len(finding.name) for finding in findings)
    marks = {True: "ok  ", False: "MISS"}
    lines = [f"{marks[f.ok]}  {f.name:<{width}}  {f.detail}" for f in findings]
    lines += [f"to do: {fix}" for fix in _to_do(findings)]
    lines.append("ready: ./inv emulator-test can run" if ready else "not ready")
    return "\n".join(lines)
