# SPDX-License-Identifier: MIT
"""Kernels: patched, configured, built, and checked to be what was requested.

A built kernel is a cache entry keyed by all its inputs: the source, the patches, the
configuration and the compiler. The key is part of the kernel's release, so that a booted kernel
says which build it is.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TypeVar

from harness.build.compiler_warnings import Warnings
from harness.build.configure import configure, made_from
from harness.build.elfcheck import read_elf
from harness.build.kconfig import (
    Fragment,
    format_fragment,
    read_fragment,
)
from harness.build.kernel_make import KernelMake
from harness.build.patching import inputs, load_overlay, overlay, save_overlay
from harness.build.source import KernelSource, fetch
from harness.build.toolchain import toolchain_version
from harness.build.tree_file import Overlay
from harness.build.work_tree import WorkTree
from harness.core import typed_json
from harness.core.cache import digest
from harness.core.errors import BuildError, PatchError, SourceMovedError, UsageError
from harness.core.process import require
from harness.core.tools import LLVM
from harness.targets.model import Target
from harness.ui.progress import Phase
from harness.ui.workspace import Workspace

Result = TypeVar("Result")

# Part of every key: change it when the way in which kernels are made changes.
_RECIPE = "2"
_RELEASE_DIGITS = 12
# How often a source is read that changes while it is read.
_ATTEMPTS = 5
_HOST_TOOLS = ("make", "gcc", "bc", "bison", "flex", "perl")
# The beginning of the Kconfig symbols that our files add.
_OURS = "CONFIG_MM_LIMITS"


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
            "make": shlex.join((LLVM if target.is_llvm else target.cross_compile, *how)),
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
        with ws.reporter.phase("configure kernel") as phase:
            how = (plan.record[name] for name in ("recipe", "toolchain", "make", "configuration"))
            source = made_from(make, patched.files, *how)
            if make.is_configured(source):
                phase.mark_cached()
            else:
                configure(make, plan.fragments)
                make.configured(source)
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
