# SPDX-License-Identifier: MIT
"""emulator-test with a fake build and a fake guest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from world import World, told

from harness.build import equipment
from harness.build.bootable import Bootable
from harness.build.modules import MODULE_NAMES
from harness.core.cache import Cache
from harness.core.errors import (
    HarnessError,
)
from harness.jobs import emulator_test, guests, pool
from harness.jobs.options import EmulatorTestOptions
from harness.machine import qemu
from harness.machine.adb import ShellResult
from harness.results.folder import LATEST
from harness.scenarios.catalogue import Scenario
from harness.scenarios.verdict import Observations
from harness.targets.linux_6_1 import LINUX_6_1
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BOOT_LOG = "<6>[    0.000000] Booting Linux\n"


class FakeDevice:
    """A device that has a kernel log, and prints samples of memory."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.log = BOOT_LOG
        self.watched: list[str] = ["usage: time=1.000000, uid=10070, rss=4096"]
        self.late: list[str] = []

    def shell(self, command: str, *, timeout: float) -> ShellResult:
        self.commands.append(command)
        return ShellResult(0, self.log)

    def kernel_log(self) -> str:
        return self.log

    def start(self, _command: str, *, on_line: Callable[[str], None]) -> Any:
        for line in self.watched:
            on_line(line)
        return SimpleNamespace(close=lambda: list(map(on_line, self.late)), ended=False)


class Bench:
    """A `run` with a fake build and a fake session; `observe` returns what is seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.results = tmp_path / "results"
        self.output = StringIO()
        self.ws = Workspace(
            cache=Cache(tmp_path / "cache"),
            reporter=Reporter(Console(file=self.output, width=160)),
        )
        self.device = FakeDevice()
        self.cause: HarnessError | None = None
        self.change: Callable[[Scenario, Observations], Observations] = lambda _, seen: seen
        self.change_stock = self.change
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
        self.built = equipment.Equipment(kernel, bootable)
        monkeypatch.setattr(equipment, "build", lambda *_: self.built)
        monkeypatch.setattr(pool, "open_session", self.open_session)
        monkeypatch.setattr(guests, "observe", self.observe)
        monkeypatch.setattr(qemu, "version", lambda _: "QEMU 7.2")

    @contextmanager
    def open_session(self, *_args: object, **_options: object) -> Iterator[Any]:
        yield SimpleNamespace(device=self.device, check=self.check)

    def check(self) -> None:
        if self.cause is not None:
            raise self.cause

    def observe(
        self,
        _session: object,
        scenario: Scenario,
        policy: str,
        trigger: str,
        *,
        stock: bool,
    ) -> Observations:
        seen = World(scenario, policy, trigger).observe()
        return self.change_stock(scenario, seen) if stock else self.change(scenario, told(seen))

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
