# SPDX-License-Identifier: MIT
"""Everything that a test needs, built; and a guest that has programs and modules in it.

Such a guest needs no time to receive them, and they are part of its snapshot.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from harness.build import kernel, modules, programs, rootfs
from harness.build.bootable import Bootable
from harness.build.kernel import KernelBuild
from harness.build.modules import MODULE_NAMES, ModuleBuild
from harness.build.programs import ProgramBuild
from harness.build.rootfs import Rootfs
from harness.core import lifetime
from harness.core.cache import digest
from harness.core.side_by_side import SideBySide
from harness.targets.model import SdkMachine, Target
from harness.ui.workspace import Workspace

First = TypeVar("First")
Second = TypeVar("Second")

_KIND = "equipped"
# harness/build/guest/init moves them from here to DEVICE_FOLDER.
_IN_GUEST = "equipment"


@dataclass(frozen=True)
class Equipment:
    """A kernel, and everything that is booted with it or pushed."""

    kernel: KernelBuild
    bootable: Bootable


def build(
    ws: Workspace,
    target: Target,
    source: str | None = None,
    extra_patches: Sequence[Path] = (),
    extra_config: Path | None = None,
) -> Equipment:
    """Build what is not up to date, and build independent parts in parallel.

    Raises the first error of the builds.
    """

    def build_kernel() -> tuple[KernelBuild, ModuleBuild | None]:
        with ExitStack() as held:
            built = kernel.build(ws, target, source, extra_patches, extra_config, held)
            # An unpatched kernel could not load them.
            return built, modules.build(ws, built) if target.patched else None

    def build_guest() -> tuple[ProgramBuild, Rootfs]:
        return programs.build(ws, target), rootfs.build(ws, target)

    (built, loadable), (tools, guest) = _side_by_side(build_kernel, build_guest)
    bare = Bootable(
        release=built.release,
        image=built.image,
        config=built.config,
        initramfs=guest.initramfs,
        modules=() if loadable is None else tuple(loadable.path(name) for name in MODULE_NAMES),
        programs=tuple(tools.path(name) for name in tools.names),
        tools=guest.tools,
        packages=guest.packages,
        vmlinux=built.vmlinux,
        is_edit=built.is_new and built.source.listing is not None,
    )
    if isinstance(target.machine, SdkMachine):
        return Equipment(built, bare)
    more = loadable.key if loadable is not None else ""
    key = digest(guest.key, more, tools.key, *MODULE_NAMES, Path(__file__).read_bytes())
    entry = ws.cache.ensure(_KIND, key, lambda folder: _assemble(bare, folder))
    return Equipment(built, replace(bare, initramfs=entry / rootfs.ARCHIVE))


def _side_by_side(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """Run both in parallel and return their results.

    If one fails, or the user interrupts, the other one's programs are ended.
    """
    end = threading.Event()

    def do(_: None, work: Callable[[], object]) -> object:
        try:
            return work()
        except BaseException:
            end.set()
            raise

    @contextmanager
    def opened(_: int) -> Iterator[None]:
        with lifetime.stopped_by(end):
            yield

    both = SideBySide(opened, do, 2)
    with closing(both.run((first, second), end.set)) as results:
        found = dict(results)
    return cast("First", found[0]), cast("Second", found[1])


def _assemble(bare: Bootable, folder: Path) -> None:
    """Make `folder`/ARCHIVE: the guest's archive, followed by one with programs and modules."""
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-", dir=folder) as scratch:
        stage, more = Path(scratch) / "stage", Path(scratch) / "more.cpio.gz"
        inside = stage / _IN_GUEST
        inside.mkdir(parents=True)
        for path in bare.pushed:
            shutil.copy(path, inside)
            (inside / path.name).chmod(0o755)
        rootfs.pack(stage, more)
        whole = bare.initramfs.read_bytes() + more.read_bytes()
    (folder / rootfs.ARCHIVE).write_bytes(whole)
