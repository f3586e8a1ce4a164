# SPDX-License-Identifier: MIT
"""Kernels: patched, configured, built, and checked to be what was requested.

A built kernel is a cache entry keyed by all its inputs: the source, the patches, the
configuration and the compiler. The key is part of the kernel's release, so that a booted kernel
says which build it is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TypeVar

from harness.build.elfcheck import read_elf
from harness.build.kconfig import (
    Fragment,
    check_survived,
    format_fragment,
    merge,
    parse_config,
    read_fragment,
    read_symbols,
    settle,
    unchosen,
)
from harness.build.patching import inputs, load_overlay, overlay, save_overlay
from harness.build.source import KernelSource, fetch
from harness.build.toolchain import linker, toolchain_version
from harness.build.tree_file import Overlay
from harness.build.work_tree import WorkTree
from harness.core import typed_json
from harness.core.cache import digest
from harness.core.errors import BuildError, PatchError, SourceMovedError, UsageError
from harness.core.process import RunOptions, require, run
from harness.targets.model import Target
from harness.ui.progress import Phase
from harness.ui.workspace import Workspace

Result = TypeVar("Result")

# Part of every key: change it when the way in which kernels are made changes.
_RECIPE = "2"
_RELEASE_DIGITS = 12
_ERROR_LINES = 6
# How often a source is read that changes while it is read.
_ATTEMPTS = 5
# make removes half-made objects when it is ended; otherwise it would take them for whole ones.
_GRACE_SECONDS = 20.0
_HOST_TOOLS = ("make", "gcc", "bc", "bison", "flex", "perl")
# The same input gives the same bytes, independent of user and time.
_REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "goldfish-oom",
    "KBUILD_BUILD_HOST": "goldfish-oom",
    "KBUILD_BUILD_VERSION": "1",
}
_CCACHE_SIZE = "2G"
# The beginning of the Kconfig symbols that our files add.
_OURS = "CONFIG_MM_LIMITS"
CCACHED = Path(__file__).with_name("ccached")

_DIAGNOSTIC = re.compile(
    r"(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: (?P<kind>warning|(?:fatal )?error): .*"
)
_ERROR = re.compile(
    r"(?:.*: )?(?:fatal )?error: .*|.*: undefined reference to .*|ERROR: .*|.*\bError: .*"
    r"|.*: syntax error.*|make(?:\[\d+\])?: \*\*\* .*"
    # Kconfig's message for a tree without the board's configuration.
    r"|\*\*\* Can't find .*"
)


@dataclass(frozen=True)
class KernelBuild:
    """A built kernel. `folder` is its cache entry; `release` is what `uname -r` must print.

    `toolchain` is the version that compiler and linker print. `is_new` says that it was not in
    the cache.
    """

    target: Target
    key: str
    folder: Path
    image: Path
    vmlinux: Path
    config: Path
    release: str
    toolchain: str
    source: KernelSource
    is_new: bool = field(default=False, compare=False)

    @property
    def overlay(self) -> Overlay:
        """The overlay of its tree over the pristine one."""
        return load_overlay(self.folder / "overlay")


@dataclass(frozen=True)
class _Plan:
    """Everything that determines what a kernel will be."""

    source: KernelSource
    extra_patches: Sequence[Path]
    fragments: Sequence[Fragment]
    toolchain: str

    @property
    def target(self) -> Target:
        return self.source.target

    @cached_property
    def record(self) -> dict[str, str]:
        """The inputs by name, for people; values are digests or short texts."""
        target = self.target
        how = (target.arch, target.board.base_config, target.update_config, *target.make_variables)
        patching = inputs(target, self.extra_patches).items()
        return {
            "recipe": _RECIPE,
            "target": target.name,
            "source": self.source.key,
            "version": self.source.version,
            "toolchain": self.toolchain,
            "make": shlex.join((target.cross_compile, *how)),
            "configuration": digest(*(format_fragment(part.values) for part in self.fragments)),
            **{name: digest(data) for name, data in patching},
        }

    @property
    def key(self) -> str:
        return digest(*(text for pair in sorted(self.record.items()) for text in pair))

    @property
    def local_version(self) -> str:
        return f"-gfoom-{self.key[:_RELEASE_DIGITS]}"

    @property
    def release(self) -> str:
        return self.source.version + self.local_version


def patch(ws: Workspace, target: Target, source: str | None = None) -> Path:
    """Return the work tree of `target`, patched; `source` is as for `fetch`."""

    def patched() -> Path:
        pristine = fetch(ws, target, source)
        tree = WorkTree.of(ws, pristine)
        with tree.lock(ws):
            _patch(ws, tree, pristine, ())
        return tree.tree

    return _of_a_moment(ws, patched)


def build(
    ws: Workspace,
    target: Target,
    source: str | None = None,
    extra_patches: Sequence[Path] = (),
    extra_config: Path | None = None,
    held: ExitStack | None = None,
) -> KernelBuild:
    """Return the kernel of `target`; it is built if the cache does not have it.

    `source` is as for `fetch`. `extra_patches` come after the series. The lines of
    `extra_config` replace those of the fragments, a Kconfig choice as a whole. Raises
    PatchError, KconfigError, or BuildError: for an error of the compiler, for a warning in our
    own lines unless the target allows it, and for a kernel that is not the requested one.

    If the kernel is built, no other run changes its tree until `held` is closed: its modules need
    the tree as it is, and a user's folder may have changed by then.
    """
    fragments = requested_config(target, extra_config)
    toolchain = toolchain_version(target)
    with ExitStack() as own:

        def built() -> KernelBuild:
            plan = _Plan(fetch(ws, target, source), extra_patches, fragments, toolchain)
            return _built(ws, plan, own if held is None else held)

        return _of_a_moment(ws, built)


def _of_a_moment(ws: Workspace, work: Callable[[], Result]) -> Result:
    """Return what `work` returns; do it again if the source changed meanwhile."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except SourceMovedError as moved:
            ws.reporter.say(f"{moved.message}; it is read again")
    return work()


def _built(ws: Workspace, plan: _Plan, held: ExitStack) -> KernelBuild:
    """Return the kernel; build it if the cache does not have it."""
    is_new = not ws.cache.has("kernel", plan.key)
    if is_new:
        # Before the entry's own lock, as wherever both are held.
        held.enter_context(WorkTree.of(ws, plan.source).lock(ws))
    else:
        with ws.reporter.phase("build kernel") as phase:
            phase.mark_cached()
    folder = ws.cache.ensure("kernel", plan.key, lambda entry: _make_entry(ws, plan, entry))
    target = plan.target
    return KernelBuild(
        target=target,
        key=plan.key,
        folder=folder,
        image=folder / Path(target.image).name,
        vmlinux=folder / "vmlinux",
        config=folder / "config",
        release=plan.release,
        toolchain=plan.toolchain,
        source=plan.source,
        is_new=is_new,
    )


def requested_config(target: Target, extra: Path | None = None) -> tuple[Fragment, ...]:
    """Return the target's fragments, and after them `extra`, whose lines win over them."""
    if extra is not None and not extra.is_file():
        raise UsageError(f"no such configuration fragment: {extra}")
    files = [*target.fragments, *([extra] if extra is not None else [])]
    fragments = [read_fragment(file) for file in files]
    if not target.patched:
        fragments = [
            Fragment(part.name, {k: v for k, v in part.values.items() if not k.startswith(_OURS)})
            for part in fragments
        ]
    return tuple(fragment for fragment in fragments if fragment.values)


# --- the steps --------------------------------------------------------------


def _make_entry(ws: Workspace, plan: _Plan, entry: Path) -> None:
    """Patch, configure and build a kernel, and fill a new cache entry."""
    require(*_HOST_TOOLS)
    tree = WorkTree.of(ws, plan.source)
    log = ws.logs / f"kernel-{plan.target.name}-{plan.key}.log"
    log.unlink(missing_ok=True)
    make = KernelMake(ws, plan.target, tree, plan.release, plan.local_version, log)
    with tree.lock(ws):
        patched = _patch(ws, tree, plan.source, plan.extra_patches)
        make.forget()
        make.compile_with(plan.toolchain)
        with ws.reporter.phase("configure kernel"):
            _configure(make, plan.fragments)
        with ws.reporter.phase("build kernel") as phase:
            _compile(make, patched, phase)
        _collect(make, plan, patched.files, entry)
        make.remember(plan.key)


@dataclass(frozen=True)
class _Patched:
    """The overlay of a work tree, and the pristine files that it replaces."""

    files: Overlay
    before: Overlay


def _patch(
    ws: Workspace, tree: WorkTree, source: KernelSource, extra_patches: Sequence[Path]
) -> _Patched:
    """Bring a work tree in step with its source and the patches."""
    with ws.reporter.phase("patch kernel") as phase:
        try:
            files = overlay(ws, source, extra_patches)
        except PatchError:
            # It may be due to a file that is just being saved.
            tree.pristine.check_unmoved()
            raise
        before = {path: tree.pristine.read(path) for path in files}
        if tree.half_applied():
            ws.reporter.say("the tree was left half-patched; it is done again")
        phase.note("bring the tree in step")
        if not tree.sync(files):
            phase.mark_cached()
    return _Patched(files, before)


def _configure(make: KernelMake, fragments: Sequence[Fragment]) -> None:
    """Write `.config`, and check that every requested line survived."""
    symbols = read_symbols(make.tree.tree, make.target.arch)
    requested = settle(fragments, symbols)
    fragment = make.tree.folder / "requested.config"
    fragment.write_text(format_fragment(requested))
    # allnoconfig and the like read the fragment themselves, so that symbols which become visible
    # by it stay off unless requested. Over a defconfig the fragment is merged.
    make(make.target.board.base_config, env={"KCONFIG_ALLCONFIG": str(fragment)})
    config = make.tree.build / ".config"
    text = config.read_text()
    merged = merge(text, {**unchosen(requested, text, symbols), **requested})
    if parse_config(merged) != parse_config(text):
        config.write_text(merged)
    make(make.target.update_config)
    check_survived(requested, config.read_text(), fragments, symbols)


def _compile(make: KernelMake, patched: _Patched, phase: Phase) -> None:
    warnings = Warnings(make, patched.files, patched.before)
    warnings.redo()
    numbers = count(1)

    def on_line(line: str) -> None:
        phase.note(f"{next(numbers)} {line.strip()}")
        warnings.see(line)

    # "modules" makes Module.symvers, against which modules outside the tree are linked.
    make(Path(make.target.image).name, "modules", on_line=on_line)
    warnings.judge()
    found = make.release_built()
    if found != make.release:
        raise BuildError(f"the kernel calls itself {found}, not {make.release}", log=make.log)


def _collect(make: KernelMake, plan: _Plan, files: Overlay, entry: Path) -> None:
    """Copy what is kept of a build, after a check that it is the right one."""
    build_folder = make.tree.build
    _check_vmlinux(build_folder / "vmlinux", plan)
    for name, source in (
        (Path(plan.target.image).name, plan.target.image),
        ("vmlinux", "vmlinux"),
        ("config", ".config"),
        ("System.map", "System.map"),
        ("Module.symvers", "Module.symvers"),
    ):
        shutil.copyfile(build_folder / source, entry / name)
    save_overlay(files, entry / "overlay")
    shutil.copyfile(make.log, entry / "build.log")
    record = {
        "key": plan.key,
        "release": plan.release,
        "origin": plan.source.origin,
        "commit": plan.source.commit,
        "changed files": plan.source.changed,
        "inputs": plan.record,
        "command": shlex.join(make.argv(Path(plan.target.image).name, "modules")),
    }
    (entry / "build.json").write_text(typed_json.to_text(record))


def _check_vmlinux(vmlinux: Path, plan: _Plan) -> None:
    """Raise BuildError unless the file is for the target's CPU and contains the release."""
    machine = read_elf(vmlinux).machine
    if machine != plan.target.elf.machine:
        raise BuildError(f"vmlinux is for {machine}, not {plan.target.elf.machine}")
    if f"Linux version {plan.release} ".encode() not in vmlinux.read_bytes():
        raise BuildError(f"vmlinux does not call itself {plan.release}")


# --- make -------------------------------------------------------------------


@dataclass(frozen=True)
class KernelMake:
    """A `make` for one kernel, in its work tree; call it under the tree's lock."""

    ws: Workspace
    target: Target
    tree: WorkTree
    release: str
    local_version: str
    log: Path

    def argv(self, *goals: str) -> list[str]:
        """Return the command for `goals`, which may also set variables."""
        compiler = f"{self.target.cross_compile}gcc"
        if shutil.which("ccache"):
            compiler = f"{self._ccached} {compiler}"
        return [
            "make",
            "-C",
            str(self.tree.tree),
            f"O={self.tree.build}",
            f"-j{self.ws.jobs}",
            f"ARCH={self.target.arch}",
            f"CROSS_COMPILE={self.target.cross_compile}",
            f"CC={compiler}",
            f"LD={linker(self.target)}",
            f"LOCALVERSION={self.local_version}",
            *self.target.make_variables,
            *goals,
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that `make` gets besides those that every program gets."""
        ccache = {
            "CCACHE_DIR": str(self.ws.cache.root / "ccache"),
            "CCACHE_MAXSIZE": _CCACHE_SIZE,
            # An object that was compiled in one tree also serves a tree elsewhere.
            "CCACHE_BASEDIR": str(self.tree.folder),
            "CCACHE_NOHASHDIR": "1",
            # The compiler lists the headers as it compiles, so a first build costs little more
            # than without ccache. Files that .incbin includes are not on the list: see
            # harness/build/ccached.
            "CCACHE_DEPEND": "1",
            # Nor is a new header on it that hides one that is.
            "CCACHE_NAMESPACE": self.tree.pristine.namespace,
        }
        return {**_REPRODUCIBLE, **ccache}

    def __call__(
        self,
        *goals: str,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> str:
        """Make `goals` and return the output; BuildError names the first errors in it."""
        self.tree.build.mkdir(parents=True, exist_ok=True)
        shutil.copy(CCACHED, self._ccached)
        errors: list[str] = []

        def watch(line: str) -> None:
            if _ERROR.fullmatch(line):
                errors.append(self.shorten(line))
            if on_line is not None:
                on_line(line)

        try:
            return run(
                self.argv(*goals),
                RunOptions(
                    env={**self.environment(), **(env or {})}, on_line=watch, grace=_GRACE_SECONDS
                ),
                log=self.log,
                error=BuildError,
                what=f"make {goals[-1]}",
            ).output
        except BuildError as failed:
            if not errors:
                raise
            raise BuildError(
                f"make {goals[-1]} failed: {errors[0].strip()}",
                log=self.log,
                tail="\n".join(errors[1:_ERROR_LINES]),
            ) from failed

    def shorten(self, line: str) -> str:
        """Return a line of output with its paths relative to the kernel tree."""
        for prefix in (f"{self.tree.tree}/", "../source/"):
            line = line.replace(prefix, "")
        return line

    def files_named(self, path: str) -> list[str]:
        """Return the files of the kernel tree that a compiler's message may mean by `path`.

        It is absolute, or relative to the compiler's directory: ccache makes it so.
        """
        tree = self.tree.tree
        places = [Path(os.path.normpath(folder / path)) for folder in (self.tree.build, tree)]
        return [place.relative_to(tree).as_posix() for place in places if tree in place.parents]

    def release_built(self) -> str:
        """Return the release of the kernel in the build folder."""
        return (self.tree.build / "include/config/kernel.release").read_text().strip()

    def compile_with(self, toolchain: str) -> None:
        """Empty the build folder if another compiler filled it: an old kernel has no such rule."""
        known = self.tree.folder / "toolchain"
        if known.is_file() and known.read_text() != toolchain:
            shutil.rmtree(self.tree.build, ignore_errors=True)
        known.write_text(toolchain)

    def forget(self) -> None:
        """Forget which kernel the build folder has; call it before the folder is changed."""
        self._marker.unlink(missing_ok=True)

    def remember(self, key: str) -> None:
        """Record that the build folder has the kernel `key`, ready for modules."""
        self._marker.write_text(key)

    def is_at(self, key: str) -> bool:
        """Return whether the build folder has the kernel `key`."""
        return self._marker.is_file() and self._marker.read_text() == key

    @property
    def _ccached(self) -> Path:
        """A copy of the script, so that make records no path of the repository."""
        return self.tree.folder / CCACHED.name

    @property
    def _marker(self) -> Path:
        return self.tree.folder / "built"


@contextmanager
def prepared(ws: Workspace, kernel: KernelBuild, log: Path) -> Iterator[KernelMake]:
    """Yield `make` with the kernel's tree and build folder locked and ready for its modules.

    If another kernel was built there since, or nothing is there, the tree is patched and
    configured again from the cache entry; no kernel is compiled.
    """
    tree = WorkTree.of(ws, kernel.source)
    local_version = kernel.release.removeprefix(kernel.source.version)
    make = KernelMake(ws, kernel.target, tree, kernel.release, local_version, log)
    log.unlink(missing_ok=True)
    with tree.lock(ws):
        changed = tree.sync(kernel.overlay)
        if changed or not make.is_at(kernel.key):
            make.forget()
            tree.build.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kernel.config, tree.build / ".config")
            make("modules_prepare")
            shutil.copyfile(kernel.folder / "Module.symvers", tree.build / "Module.symvers")
            if make.release_built() != kernel.release:
                raise BuildError(
                    f"the tree calls itself {make.release_built()}, not {kernel.release}", log=log
                )
            make.remember(kernel.key)
        yield make


# --- warnings ---------------------------------------------------------------


@dataclass(frozen=True)
class Warnings:
    """Compiler warnings in the files of an overlay, which a kernel may not have.

    `before` are the pristine files that it replaces.

    make compiles a file once, and so shows its warnings once. They are therefore recorded as
    they come, and a file with warnings is compiled again in the next build, whether this one
    succeeds or not.
    """

    make: KernelMake
    files: Overlay
    before: Overlay

    @property
    def _memory(self) -> Path:
        return self.make.tree.folder / "warnings.txt"

    def _lines(self) -> list[str]:
        return self._memory.read_text().splitlines() if self._memory.is_file() else []

    def redo(self) -> None:
        """Have the files compiled again that had warnings last time."""
        for line in self._lines():
            file = self.make.tree.tree / line.split(":", 1)[0]
            if file.is_file():
                os.utime(file)
        self._memory.unlink(missing_ok=True)

    def see(self, line: str) -> None:
        """Record the line if it is a warning in a line of ours."""
        found = _DIAGNOSTIC.fullmatch(line)
        if found is None or found["kind"] != "warning":
            return
        for name in self.make.files_named(found["file"]):
            if self.is_ours(name, int(found["line"])):
                with self._memory.open("a") as memory:
                    memory.write(name + line[len(found["file"]) :] + "\n")
                return

    def is_ours(self, name: str, line: int) -> bool:
        """Return whether the line is one that the pristine file does not have."""
        file = self.files.get(name)
        if file is None:
            return False
        before = self.before.get(name)
        old = set(before.data.splitlines()) if before is not None else set()
        lines = file.data.splitlines()
        return not 0 < line <= len(lines) or lines[line - 1] not in old

    def judge(self) -> None:
        """Raise BuildError if there were warnings; only report them if the target allows them."""
        lines = list(dict.fromkeys(self._lines()))
        if not lines:
            return
        message = f"{len(lines)} compiler warning(s) in our own files: {lines[0]}"
        if not self.make.target.warnings_stop:
            self.make.ws.reporter.say(message)
            return
        raise BuildError(message, log=self.make.log, tail="\n".join(lines[1:_ERROR_LINES]))
