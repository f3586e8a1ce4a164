# SPDX-License-Identifier: MIT
"""emulator-test with a fake build and fake guests."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_guest import FakeGuests
from stand_ins import workspace

from harness.build import equipment
from harness.build.bootable import Bootable
from harness.build.modules import MODULE_NAMES
from harness.jobs import emulator_test
from harness.jobs.options import EmulatorTestOptions
from harness.results.folder import LATEST
from harness.targets.linux_6_1 import LINUX_6_1

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Bench(FakeGuests):
    """A run of emulator-test; a test may change its guests, and have its build fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        super().__init__(monkeypatch, tmp_path / "tools")
        self.results = tmp_path / "results"
        self.output = StringIO()
        self.ws = workspace(tmp_path / "cache", self.output)
        self.build_error: BaseException | None = None
        files = tmp_path / "cache" / "all" / "0123"
        files.mkdir(parents=True)
        for name in ("oom_test_kernel", *MODULE_NAMES, "image", "config"):
            (files / name).write_text(name)
        kernel: Any = SimpleNamespace(
            image=files / "image",
            config=files / "config",
            vmlinux=files / "vmlinux",
            release="6.1.0-gfoom-0",
            toolchain="arm-gcc 12; ld 2.40",
            source=SimpleNamespace(
                origin="the fake kernel", commit=COMMIT, changed=("a.c",), url=None
            ),
        )
        bootable = Bootable(
            kernel.release,
            image=kernel.image,
            config=kernel.config,
            initramfs=files / "image",
            modules=tuple(files / name for name in MODULE_NAMES),
            programs=(files / "oom_test_kernel",),
            packages=("adbd=34",),
            vmlinux=kernel.vmlinux,
        )
        self._built = equipment.Equipment(kernel, bootable)

    def build(self, *_: object) -> equipment.Equipment:
        if self.build_error is not None:
            raise self.build_error
        return self._built

    def run(self, policy: str = "rss", **options: Any) -> int:
        options = {"target": LINUX_6_1, "trigger": "alloc", "jobs": "1", **options}
        return emulator_test.run(
            self.ws, EmulatorTestOptions(policy=policy, results=self.results, **options)
        )

    @property
    def command(self) -> str:
        return (self.results / LATEST / "command.txt").read_text()

    @property
    def folder(self) -> Path:
        return (self.results / LATEST).readlink()

    @property
    def verdict(self) -> Any:
        return json.loads((self.results / LATEST / "verdict.json").read_text())
