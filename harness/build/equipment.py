# SPDX-License-Identifier: MIT
"""Everything that a test needs, built; and a guest that has programs and modules in it.

Such a guest needs no time to receive them, and they are part of its snapshot.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
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
    """Everything that is booted or pushed. `initramfs` is the guest with all of it."""

    kernel: KernelBuild
    # None for an unpatched kernel, which could not load them.
    modules: ModuleBuild | None
    programs: ProgramBuild
    rootfs: Rootfs
    initramfs: Path

    @property
    def bootable(self) -> Bootable:
        """The same, as files."""
        loadable = self.modules
        return Bootable(
            release=self.kernel.release,
            image=self.kernel.image,
            config=self.kernel.config,
            initramfs=self.initramfs,
            modules=() if loadable is None else tuple(loadable.path(name) for name in MODULE_NAMES),
            programs=tuple(self.programs.path(name) for name in self.programs.names),
            tools=self.rootfs.tools,
            packages=self.rootfs.packages,
            vmlinux=self.kernel.vmlinux,
        )


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
        built = kernel.build(ws, target, source, extra_patches, extra_config)
        return built, modules.build(ws, built) if target.patched else None

    def build_guest() -> tuple[ProgramBuild, Rootfs]:
        return programs.build(ws, target), rootfs.build(ws, target)

    (built, loadable), (tools, guest) = _side_by_side(build_kernel, build_guest)
    bare = Equipment(built, loadable, tools, guest, guest.initramfs)
    if isinstance(target.machine, SdkMachine):
        return bare
    more = loadable.key if loadable is not None else ""
    key = digest(guest.key, more, tools.key, *MODULE_NAMES, Path(__file__).read_bytes())
    entry = ws.cache.ensure(_KIND, key, lambda folder: _assemble(bare, folder))
    return Equipment(built, loadable, tools, guest, entry / rootfs.ARCHIVE)


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


def _assemble(bare: Equipment, folder: Path) -> None:
    """Make `folder`/ARCHIVE: the guest's archive, followed by one with programs and modules."""
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-", dir=folder) as scratch:
        inside = Path(scratch) / _IN_GUEST
        inside.mkdir()
        for path in (*bare.bootable.programs, *bare.bootable.modules):
            shutil.copy(path, inside)
            (inside / path.name).chmod(0o755)
        rootfs.pack(Path(scratch), folder / "more.cpio.gz")
    more = folder / "more.cpio.gz"
    whole = bare.rootfs.initramfs.read_bytes() + more.read_bytes()
    (folder / rootfs.ARCHIVE).write_bytes(whole)
    more.unlink()
