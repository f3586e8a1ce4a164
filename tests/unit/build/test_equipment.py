# SPDX-License-Identifier: MIT
"""All that a test needs: built side by side, and put behind the guest's own files."""

from __future__ import annotations

import gzip
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_ins import workspace

from harness.build import equipment, kernel, modules, programs, rootfs
from harness.build.modules import MODULE_NAMES
from harness.core import lifetime, process
from harness.core.errors import BuildError, RunEndedError
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1

LONG = [sys.executable, "-c", "import time; time.sleep(600)"]


class Builds:
    """Builds that are not real; each waits for the other where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.ws = workspace(folder / "cache")
        self.barrier = threading.Barrier(2)
        # What each does when both are at work.
        self.kernel_work: Callable[[], object] = lambda: None
        self.guest_work: Callable[[], object] = lambda: None
        files = folder / "built"
        files.mkdir()
        for name in ("image", "config", "vmlinux", "program", *MODULE_NAMES):
            (files / name).write_text(name)
        (files / "guest.gz").write_bytes(gzip.compress(b"guest"))
        parts = {name: files / name for name in ("image", "config", "vmlinux")}
        self.kernel: Any = SimpleNamespace(
            release="6.1", is_new=False, source=SimpleNamespace(listing=None), **parts
        )
        self.modules: Any = SimpleNamespace(key="m", path=lambda name: files / name)
        self.programs: Any = SimpleNamespace(
            key="p", names=("program",), path=lambda name: files / name
        )
        self.guest: Any = SimpleNamespace(
            key="g", initramfs=files / "guest.gz", tools=(), packages=("adbd=34",)
        )
        monkeypatch.setattr(
            kernel, "build", lambda *_: self.together(self.kernel, self.kernel_work)
        )
        monkeypatch.setattr(modules, "build", lambda *_: self.modules)
        monkeypatch.setattr(programs, "build", lambda *_: self.programs)
        monkeypatch.setattr(rootfs, "build", lambda *_: self.together(self.guest, self.guest_work))

    def together(self, built: Any, work: Callable[[], object]) -> Any:
        self.barrier.wait(120)
        work()
        return built


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builds:
    return Builds(monkeypatch, tmp_path)


def test_kernel_and_guest_are_built_side_by_side_and_equipped(builds: Builds) -> None:
    made = equipment.build(builds.ws, LINUX_6_1)
    assert made.bootable.release == "6.1"
    assert [path.name for path in made.bootable.modules] == list(MODULE_NAMES)
    whole = gzip.decompress(made.bootable.initramfs.read_bytes())
    assert whole.startswith(b"guest")
    for name in (b"equipment/program", b"equipment/set_mm_limits", b"equipment/my_oom_killer"):
        assert name in whole
    # The same again is no work, and the same file.
    assert equipment.build(builds.ws, LINUX_6_1).bootable.initramfs == made.bootable.initramfs
    builds.programs.key = "another"
    assert equipment.build(builds.ws, LINUX_6_1).bootable.initramfs != made.bootable.initramfs


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("listing", ["of a folder", None])
def test_a_new_kernel_of_a_folder_is_an_edit(builds: Builds, is_new: bool, listing: object) -> None:
    builds.kernel.is_new, builds.kernel.source.listing = is_new, listing
    made = equipment.build(builds.ws, LINUX_6_1)
    assert made.bootable.is_edit == (is_new and listing is not None)


def test_a_stock_kernel_has_no_modules_of_ours(builds: Builds) -> None:
    made = equipment.build(builds.ws, LINUX_6_1.stock())
    assert made.bootable.modules == ()
    assert b"equipment/set_mm_limits" not in gzip.decompress(made.bootable.initramfs.read_bytes())


def test_an_avd_has_a_system_of_its_own(builds: Builds) -> None:
    made = equipment.build(builds.ws, GOLDFISH_3_4.on("sdk"))
    assert made.bootable.initramfs == builds.guest.initramfs


def fail() -> None:
    raise BuildError("build kernel failed")


def interrupt() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)
    process.run(LONG)


@pytest.mark.parametrize(("end", "error"), [(fail, BuildError), (interrupt, KeyboardInterrupt)])
def test_a_build_that_fails_or_is_interrupted_ends_the_other(
    builds: Builds, end: Callable[[], object], error: type[BaseException]
) -> None:
    builds.kernel_work, builds.guest_work = end, lambda: process.run(LONG)
    begun = time.monotonic()
    with pytest.raises(error):
        equipment.build(builds.ws, LINUX_6_1)
    assert time.monotonic() - begun < 120


def test_only_the_threads_own_programs_are_ended() -> None:
    event = threading.Event()
    event.set()
    with lifetime.stopped_by(event), pytest.raises(RunEndedError):
        process.run(LONG)
    assert process.run([sys.executable, "-c", "print(5)"]).output == "5\n"
