# SPDX-License-Identifier: MIT
"""Modules, of `module/` or of a test, built outside the kernel tree against a built kernel."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from harness.build.elfcheck import read_elf
from harness.build.kernel import KernelBuild, prepared
from harness.build.kernel_make import KernelMake
from harness.build.work_tree import WorkTree
from harness.core.cache import digest
from harness.core.editors import is_temporary
from harness.core.errors import BuildError
from harness.core.paths import MODULES
from harness.ui.workspace import Workspace

# The modules of `module/`, in the order in which they are loaded.
MODULE_NAMES = ("set_mm_limits", "my_oom_killer")

_WARNING = re.compile(r".*\bwarning: .*|WARNING: .*")
# The place that a compiler's warning names.
_PLACE = re.compile(r"(?P<file>[^\s:]+):\d+(?::\d+)?: ")
# modpost's warnings about a module that would not load.
_UNRESOLVED = re.compile(r"WARNING: .*undefined!|WARNING: .*has no CRC.*")


@dataclass(frozen=True)
class ModuleBuild:
    """Built modules, in their cache entry."""

    folder: Path
    key: str

    def path(self, name: str) -> Path:
        """Return the file of the module `name`, such as `set_mm_limits` (or with `.ko`)."""
        path = self.folder / f"{name.removesuffix('.ko')}.ko"
        if not path.is_file():
            raise BuildError(f"module/ has no {name}")
        return path


def build(ws: Workspace, kernel: KernelBuild, source: Path | None = None) -> ModuleBuild:
    """Return all modules of `source` (default: `module/`) for `kernel`.

    They are built if the cache does not have them. Raises BuildError for an error of compiler or
    modpost, for a warning unless the target allows it, and for a module that the kernel would
    not load.
    """
    sources = module_sources(source)
    parts = [part for path in sources for part in (path.name, path.read_bytes())]
    key = digest(kernel.key, *parts)
    with ws.reporter.phase("build modules") as phase, ExitStack() as held:
        if ws.cache.has("modules", key):
            phase.mark_cached()
        else:
            # Before the entry's own lock, as wherever both are held.
            held.enter_context(WorkTree.of(ws, kernel.source).lock(ws))
        folder = ws.cache.ensure(
            "modules", key, lambda entry: _make(ws, kernel, key, entry, source)
        )
    return ModuleBuild(folder, key)


def module_sources(source: Path | None = None) -> list[Path]:
    """Return the files that the modules of `source` (default: `module/`) are built from.

    Files that a build in that folder left, or an editor keeps there, are not among them.
    """
    return [
        path
        for path in sorted((source or MODULES).iterdir())
        if path.name in ("Kbuild", "Makefile")
        or (
            path.suffix in (".c", ".h")
            and not path.name.endswith(".mod.c")
            and not is_temporary(path.name)
        )
    ]


def copy_sources(make: KernelMake, source: Path | None = None) -> Path:
    """Copy the sources beside the kernel tree, so that the repository stays clean."""
    folder = make.tree.folder / "modules"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in module_sources(source):
        shutil.copyfile(path, folder / path.name)
    return folder


def module_info(path: Path) -> dict[str, str]:
    """Return the fields of a module's `.modinfo` (of those that repeat, the last)."""
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".modinfo")
        data: bytes = section.data() if section is not None else b""
    fields = (entry.partition("=") for entry in data.decode(errors="replace").split("\0"))
    return {name: value for name, equals, value in fields if equals}


def check_module(path: Path, kernel: KernelBuild) -> None:
    """Raise BuildError unless the file is a module that `kernel` would load."""
    machine = read_elf(path).machine
    if machine != kernel.target.elf.machine:
        raise BuildError(f"{path.name} is for {machine}, not {kernel.target.elf.machine}")
    magic = module_info(path).get("vermagic", "")
    if magic.split(" ")[0] != kernel.release:
        raise BuildError(f"{path.name} is for the kernel {magic!r}, not {kernel.release}")


def _make(ws: Workspace, kernel: KernelBuild, key: str, entry: Path, source: Path | None) -> None:
    log = ws.logs / f"modules-{kernel.target.name}-{key}.log"
    with prepared(ws, kernel, log) as make:
        folder = copy_sources(make, source)
        output = make(f"M={folder}", "modules")
        warnings = [line for line in output.splitlines() if _WARNING.fullmatch(line)]
        if not kernel.target.warnings_stop:
            for line in warnings:
                # The kernel's own headers, which every module includes, do not count.
                place = _PLACE.match(line)
                if place is None or not make.files_named(place["file"]):
                    ws.reporter.say(line)
            # 3.4's modpost only warns about what insmod refuses.
            warnings = [line for line in warnings if _UNRESOLVED.fullmatch(line)]
        if warnings:
            raise BuildError(
                f"{len(warnings)} warning(s) in module/: {warnings[0]}",
                log=log,
                tail="\n".join(warnings[1:]),
            )
        built = sorted(folder.glob("*.ko"))
        if not built:
            raise BuildError("module/Kbuild built no module", log=log)
        for path in built:
            check_module(path, kernel)
            shutil.copyfile(path, entry / path.name)
    shutil.copyfile(log, entry / "build.log")
