# SPDX-License-Identifier: MIT
"""Building the programs that run on the device, from `ndk_tests/`.

`ndk-build` builds them if there is an NDK, and a plain cross compiler otherwise; the makefile in
`ndk_tests/build/` reads the same `jni/Android.mk` files.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.build import ndk
from harness.build.elfcheck import check_static_program
from harness.build.ndk import Ndk
from harness.core.cache import digest, tree_digest
from harness.core.errors import BuildError
from harness.core.paths import NDK_TESTS
from harness.core.process import RunOptions, require, run
from harness.targets.model import Target
from harness.ui.progress import Phase
from harness.ui.workspace import Workspace

# The programs of `ndk_tests/`: each has a folder.
PROGRAMS = tuple(sorted(path.parent.name for path in NDK_TESTS.glob("*/jni")))
HEADER = "mm_limits_syscalls.h"

_KIND = "programs"
# Messages of GCC and its linker if there is a compiler but no C library for it.
_NO_LIBC = re.compile(r"cannot find -lc\b|fatal error: \w+\.h: No such file")


@dataclass(frozen=True)
class ProgramBuild:
    """The programs for one target, static and checked, in `folder`.

    `include/` below it holds the header with the syscall numbers.
    """

    folder: Path
    key: str
    names: tuple[str, ...] = PROGRAMS

    def path(self, name: str) -> Path:
        """Return the file of the program `name`, which must be one of `names`."""
        if name not in self.names:
            raise KeyError(name)
        return self.folder / name


def syscall_header(syscalls: Mapping[str, int]) -> str:
    """Return the header that gives the programs the numbers of their syscalls."""
    defines = "".join(f"#define __NR_{name} {number}\n" for name, number in syscalls.items())
    return (
        "/* SPDX-License-Identifier: GPL-2.0-only */\n"
        "/* Made by the build from the target's data. */\n"
        "#ifndef MM_LIMITS_SYSCALLS_H\n"
        "#define MM_LIMITS_SYSCALLS_H\n\n"
        f"{defines}\n"
        "#endif\n"
    )


def _compile(
    target: Target, folder: Path, jobs: int, log: Path, on_line: Callable[[str], None]
) -> None:
    """Write all programs to `folder`, where the header is already; BuildError if that fails."""
    prefix = target.programs_cross_compile
    try:
        run(
            [
                "make",
                f"--jobs={jobs}",
                f"--file={NDK_TESTS / 'build' / 'Makefile'}",
                f"OUT={folder}",
                f"MM_LIMITS_INCLUDE={folder / 'include'}",
                f"CROSS_COMPILE={prefix}",
            ],
            RunOptions(cwd=folder, on_line=on_line),
            log=log,
            error=BuildError,
            what="the build of the test programs",
        )
    except BuildError as error:
        if _NO_LIBC.search(error.tail):
            hint = f"install the C library for {prefix}gcc: ./inv setup, with --kernel as here"
            error.hint = hint
        raise
    shutil.rmtree(folder / "obj")


def build(ws: Workspace, target: Target) -> ProgramBuild:
    """Return the programs for `target`, from the cache if nothing changed.

    An NDK builds them if the target can use one and it is installed; otherwise Debian's compiler
    does.
    """
    found = ndk.find() if target.ndk_abi is not None else None
    if found is None:
        require("make", f"{target.programs_cross_compile}gcc")
    key = _key(target, found)
    with ws.reporter.phase("build test programs") as phase:
        phase.mark_cached()
        folder = ws.cache.ensure(
            _KIND, key, lambda partial: _make(ws, target, found, partial, phase)
        )
    return ProgramBuild(folder, key)


def _key(target: Target, found: Ndk | None) -> str:
    """Return the key over all inputs: sources, makefiles, compiler, numbers, expectations."""
    roots = [NDK_TESTS / "build", NDK_TESTS / "common"]
    roots += [NDK_TESTS / name / "jni" for name in PROGRAMS]
    if found is not None:
        compiler = f"NDK {found.revision} {found.build} {found.newest_api} {target.ndk_abi}"
    else:
        gcc = f"{target.programs_cross_compile}gcc"
        compiler = run([gcc, "--version"], error=BuildError).output
    return digest(
        tree_digest(*roots),
        compiler,
        target.programs_cross_compile,
        syscall_header(target.syscalls),
        repr((target.elf, target.oldest_kernel)),
    )


def _compile_with_ndk(
    found: Ndk, target: Target, folder: Path, jobs: int, log: Path, on_line: Callable[[str], None]
) -> None:
    """Do what `_compile` does, with `ndk-build`."""
    assert target.ndk_abi is not None
    for name in PROGRAMS:
        # Each is a project of its own, which knows nothing of the others.
        scratch = folder / "ndk" / name
        argv = ndk.ndk_build_argv(
            found,
            project=NDK_TESTS / name,
            abi=target.ndk_abi,
            folder=scratch,
            include=folder / "include",
            jobs=jobs,
        )
        try:
            what = f"ndk-build of {name}"
            run(argv, RunOptions(on_line=on_line), log=log, error=BuildError, what=what)
        except BuildError as error:
            error.hint = f"this is NDK {found.revision}; {found.without}"
            raise
        built = scratch / "libs" / target.ndk_abi / name
        if not built.is_file():
            raise BuildError(f"ndk-build left no {name} for {target.ndk_abi}", log=log)
        shutil.copy(built, folder / name)
    shutil.rmtree(folder / "ndk")


def _make(ws: Workspace, target: Target, found: Ndk | None, folder: Path, phase: Phase) -> None:
    phase.cached = False
    log = ws.logs / f"programs-{target.name}.log"
    (folder / "include").mkdir()
    (folder / "include" / HEADER).write_text(syscall_header(target.syscalls))
    if found is not None:
        _compile_with_ndk(found, target, folder, ws.jobs, log, phase.note)
    else:
        _compile(target, folder, ws.jobs, log, phase.note)
    for name in PROGRAMS:
        check_static_program(
            folder / name, target.elf, target.oldest_kernel, bionic=found is not None
        )
