# SPDX-License-Identifier: MIT
"""emulator-test with a fake build and fake guests."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bundles
import pytest
from fake_guest import FakeGuests
from stand_ins import workspace

from harness.build import equipment
from harness.jobs import emulator_test
from harness.jobs.options import EmulatorTestOptions
from harness.results.folder import LATEST
from harness.targets.linux_6_1 import LINUX_6_1

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# All its guests are alike, so one of them can do everything.
TARGET = replace(
    LINUX_6_1,
    boards={name: replace(one, works_alone=False) for name, one in LINUX_6_1.boards.items()},
)


class Bench(FakeGuests):
    """A run of emulator-test; a test may change its guests, and have its build fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        super().__init__(monkeypatch, tmp_path / "tools")
        self.results = tmp_path / "results"
        self.output = StringIO()
        self.ws = workspace(tmp_path / "cache", self.output)
        self.build_error: BaseException | None = None
        files = replace(bundles.cached(self.ws.cache), vmlinux=tmp_path / "vmlinux")
        kernel: Any = SimpleNamespace(
            release=files.release,
            toolchain="arm-gcc 12; ld 2.40",
            source=SimpleNamespace(
                key="k", origin="the fake kernel", commit=COMMIT, changed=("a.c",), url=None
            ),
        )
        self.built = equipment.Equipment(kernel, files)

    def build(self, *_: object) -> equipment.Equipment:
        if self.build_error is not None:
            raise self.build_error
        return self.built

    def run(self, policy: str = "rss", **options: Any) -> int:
        options = {"target": TARGET, "trigger": "alloc", "jobs": "1", **options}
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
