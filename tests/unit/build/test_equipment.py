# SPDX-License-Identifier: MIT
"""All that a test needs: built side by side, and put behind the guest's own files."""

from __future__ import annotations

import gzip
import io
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from harness.build import equipment, kernel, modules, programs, rootfs
from harness.core import lifetime, process
from harness.core.cache import Cache
from harness.core.errors import BuildError, RunEndedError
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

LONG = [sys.executable, "-c", "import time; time.sleep(600)"]


class Builds:
    """Builds that are not real; each waits for the other where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.ws = Workspace(Cache(folder / "cache"), Reporter(Console(file=io.StringIO())))
        self.barrier = threading.Barrier(2)
        # What each does when both are at work.
        self.kernel_work: Callable[[], object] = lambda: None
        self.guest_work: Callable[[], object] = lambda: None
        files = folder / "built"
        files.mkdir()
        for name in ("zImage", "config", "vmlinux", "program", "set_mm_limits", "my_oom_killer"):
            (files / name).write_text(name)
        (files / "guest.gz").write_bytes(gzip.compress(b"guest"))
        self.kernel: Any = SimpleNamespace(
            release="6.1",
            image=files / "zImage",
            config=files / "config",
            vmlinux=files / "vmlinux",
        )
        self.modules: Any = SimpleNamespace(key="m", path=lambda name: files / name)
        self.programs: Any = SimpleNamespace(
            key="p", names=("program",), path=lambda name: files / name
        )
        self.guest: Any = SimpleNamespace(
            key="g", initramfs=files / "guest.gz", tools=(), packages=("adbd=34",)
        )
        monkeypatch.setattr(kernel, "build", self.build_kernel)
        monkeypatch.setattr(modules, "build", lambda *_: self.modules)
        monkeypatch.setattr(programs, "build", lambda *_: self.programs)
        monkeypatch.setattr(rootfs, "build", self.build_guest)

    def build_kernel(self, *_: object) -> Any:
        self.barrier.wait(120)
        self.kernel_work()
        return self.kernel

    def build_guest(self, *_: object) -> Any:
        self.barrier.wait(120)
        self.guest_work()
        return self.guest


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builds:
    return Builds(monkeypatch, tmp_path)


def test_kernel_and_guest_are_built_side_by_side(builds: Builds) -> None:
    made = equipment.build(builds.ws, LINUX_6_1)
    assert made.bootable.release == "6.1"
    assert [path.name for path in made.bootable.modules] == ["set_mm_limits", "my_oom_killer"]


def test_programs_and_modules_are_behind_the_guest(builds: Builds) -> None:
    made = equipment.build(builds.ws, LINUX_6_1)
    whole = gzip.decompress(made.initramfs.read_bytes())
    assert whole.startswith(b"guest")
    for name in (b"equipment/program", b"equipment/set_mm_limits", b"equipment/my_oom_killer"):
        assert name in whole
    # The same again is no work, and the same file.
    assert equipment.build(builds.ws, LINUX_6_1).initramfs == made.initramfs
    builds.programs.key = "another"
    assert equipment.build(builds.ws, LINUX_6_1).initramfs != made.initramfs


def test_a_stock_kernel_has_no_modules_of_ours(builds: Builds) -> None:
    made = equipment.build(builds.ws, LINUX_6_1.stock())
    assert made.bootable.modules == ()
    assert b"equipment/set_mm_limits" not in gzip.decompress(made.initramfs.read_bytes())


def test_an_avd_has_a_system_of_its_own(builds: Builds) -> None:
    made = equipment.build(builds.ws, GOLDFISH_3_4.on("sdk"))
    assert made.initramfs == builds.guest.initramfs


def test_a_build_that_fails_ends_the_other(builds: Builds) -> None:
    def fail() -> None:
        raise BuildError("build kernel failed")

    builds.kernel_work = fail
    builds.guest_work = lambda: process.run(LONG)
    begun = time.monotonic()
    with pytest.raises(BuildError, match="build kernel failed"):
        equipment.build(builds.ws, LINUX_6_1)
    assert time.monotonic() - begun < 120


def test_ctrl_c_ends_both(builds: Builds) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupted() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        process.run(LONG)

    builds.kernel_work = interrupted
    builds.guest_work = lambda: process.run(LONG)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        equipment.build(builds.ws, LINUX_6_1)
    assert time.monotonic() - begun < 120


def test_only_the_threads_own_programs_are_ended() -> None:
    event = threading.Event()
    event.set()
    with lifetime.stopped_by(event), pytest.raises(RunEndedError):
        process.run(LONG)
    assert process.run([sys.executable, "-c", "print(5)"]).output == "5\n"
