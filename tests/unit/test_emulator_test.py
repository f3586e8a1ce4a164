# SPDX-License-Identifier: MIT
"""The main job around its device: what ends it, what it returns, what it leaves behind.

The device is not real here: these are the paths on which it fails.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from world import World

from harness import emulator_test
from harness.adb import ShellResult
from harness.cache import Cache
from harness.errors import (
    BootError,
    BuildError,
    DeviceError,
    HarnessError,
    InfrastructureError,
    UsageError,
)
from harness.klog import Section
from harness.progress import Reporter
from harness.results import LATEST
from harness.scenarios import Scenario
from harness.targets import GOLDFISH_3_4, LINUX_6_1, GitSource
from harness.verdict import Observations
from harness.workspace import Workspace

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BOOT_LOG = "<6>[    0.000000] Booting Linux\n"


class FakeDevice:
    """Takes what is pushed and has a kernel log."""

    def __init__(self) -> None:
        self.pushed: list[str] = []
        self.commands: list[str] = []
        self.log = BOOT_LOG

    def push(self, local: Path, remote: str) -> None:
        with tarfile.open(local) as tar:
            assert {member.mode for member in tar} == {0o755}
            self.pushed = tar.getnames()

    def shell(self, command: str, *, timeout: float) -> ShellResult:
        self.commands.append(command)
        return ShellResult(0, self.log)

    def kernel_log(self) -> str:
        return self.log


class Bench:
    """`run` with a build and a session that are not real; `observe` says what is seen."""

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
        files = tmp_path / "built"
        files.mkdir()
        for name in ("oom_test_kernel", "set_mm_limits", "my_oom_killer"):
            (files / name).write_text(name)
        folder = SimpleNamespace(path=lambda name: files / name, names=("oom_test_kernel",))
        self.built = SimpleNamespace(
            kernel=SimpleNamespace(
                image=files,
                release="6.1.0-gfoom-0",
                toolchain="arm-gcc 12; ld 2.40",
                source=SimpleNamespace(
                    origin="the fake kernel", commit=COMMIT, changed=("a.c",), url=None
                ),
            ),
            modules=folder,
            programs=folder,
            rootfs=SimpleNamespace(initramfs=files, tools=()),
        )
        monkeypatch.setattr(emulator_test, "_build", lambda *_: self.built)
        monkeypatch.setattr(emulator_test, "open_session", self.open_session)
        monkeypatch.setattr(emulator_test, "observe", self.observe)

    @contextmanager
    def open_session(self, *_args: object, **_options: object) -> Iterator[Any]:
        yield SimpleNamespace(device=self.device, check=self.check)

    def check(self) -> None:
        if self.cause is not None:
            raise self.cause

    def observe(
        self, _session: object, scenario: Scenario, policy: str, trigger: str
    ) -> Observations:
        return self.change(scenario, World(scenario, policy, trigger).observe())

    def run(self, policy: str = "rss", **options: Any) -> int:
        options = {"target": LINUX_6_1, **options}
        return emulator_test.run(
            self.ws, policy=policy, trigger="alloc", results=self.results, **options
        )

    @property
    def command(self) -> str:
        return (self.results / LATEST / "command.txt").read_text()

    @property
    def verdict(self) -> Any:
        return json.loads((self.results / LATEST / "verdict.json").read_text())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_a_run_that_passes(bench: Bench) -> None:
    assert bench.run("all") == 0
    assert sorted(bench.device.pushed) == ["my_oom_killer", "oom_test_kernel", "set_mm_limits"]
    assert bench.verdict["passed"] is True
    assert {one["policy"] for one in bench.verdict["scenarios"]} == {
        "",
        "rss",
        "runtime",
        "badness",
    }
    assert bench.output.getvalue().splitlines()[-1].startswith("PASS: ")


@pytest.mark.parametrize(
    "words",
    [
        {"policy": "worst", "trigger": "alloc"},
        {"policy": "rss", "trigger": "timer"},
        {"policy": "rss", "trigger": "alloc", "scenarios": ("reprot",)},
    ],
)
def test_a_wrong_word_is_told_before_anything_is_done(bench: Bench, words: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        emulator_test.run(bench.ws, LINUX_6_1, results=bench.results, **words)
    assert not bench.results.exists()


def test_a_build_that_fails_leaves_a_complete_folder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise BuildError("build kernel failed")

    monkeypatch.setattr(emulator_test, "_build", fail)
    with pytest.raises(BuildError):
        bench.run()
    assert bench.verdict["result"] == "FAIL: build kernel failed"
    names = {path.name for path in (bench.results / LATEST).iterdir()}
    assert names == {
        *("command.txt", "kernel.log", "kills.json", "verdict.json"),
        *("junit.xml", "results.ktap", "kcidb.json", "report.html"),
    }


def test_ctrl_c_leaves_a_complete_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(emulator_test, "observe", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.verdict["result"] == "FAIL: KeyboardInterrupt"
    assert bench.verdict["finished"] is False


def test_a_kernel_that_dies_fails_the_test_and_ends_it(bench: Bench) -> None:
    def die(scenario: Scenario, seen: Observations) -> Observations:
        if scenario.name != "course":
            return seen
        bench.cause = BootError("the kernel panicked")
        return replace(seen, died="the kernel panicked", section=Section("", False, False))

    bench.change = die
    assert bench.run() == 1
    assert bench.verdict["result"] == "FAIL: kernel died in course (policy rss)"
    assert [one["scenario"] for one in bench.verdict["scenarios"]] == ["boot", "report", "course"]


def test_a_machine_that_is_killed_is_no_verdict_on_the_kernel(bench: Bench) -> None:
    def vanish(scenario: Scenario, seen: Observations) -> Observations:
        bench.cause = DeviceError("the machine (QEMU) was killed by SIGKILL")
        return replace(seen, problem=bench.cause.message, runs={})

    bench.change = vanish
    with pytest.raises(DeviceError):
        bench.run()
    assert bench.verdict["passed"] is False
    assert bench.verdict["scenarios"][-1]["outcome"] == "INFRASTRUCTURE_FAILED"


def test_missing_evidence_alone_is_no_verdict_on_the_kernel(bench: Bench) -> None:
    bench.change = lambda _, seen: replace(seen, limits=None)
    with pytest.raises(InfrastructureError, match="infrastructure failed in report"):
        bench.run(scenarios=("report", "course"))
    assert len(bench.verdict["scenarios"]) == 4


def test_a_victim_that_lives_fails_the_test(bench: Bench) -> None:
    bench.change = lambda _, seen: replace(seen, section=Section("", True, True))
    assert bench.run(scenarios=("report",)) == 1
    assert "FAIL: records disagree in report (policy rss)" in bench.output.getvalue()


def test_a_warning_at_boot_fails_the_test(bench: Bench) -> None:
    bench.device.log += "<4>[    0.100000] something is odd\n"
    assert bench.run(scenarios=("report",)) == 1
    assert bench.verdict["result"] == "FAIL: kernel complained in boot"


def test_on_an_android_only_a_broken_kernel_fails_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator_test, "check_machine", lambda *_: None)
    options: dict[str, Any] = {"target": GOLDFISH_3_4.on("sdk"), "scenarios": ("report",)}
    bench.device.log += "<4>[    0.100000] healthd: WARNING: no battery\n"
    bench.device.log += "<6>[    0.200000] send sigkill to 612 (browser), adj 9, size 4096\n"
    assert bench.run(**options) == 0
    assert bench.run(target=GOLDFISH_3_4, scenarios=("report",)) == 1
    bench.device.log += "<4>[    0.300000] Internal error: Oops: 805 [#1] PREEMPT ARM\n"
    assert bench.run(**options) == 1
    assert bench.verdict["result"] == "FAIL: kernel complained in boot"


def test_a_hung_task_is_told_as_fast_as_the_board_allows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator_test, "check_machine", lambda *_: None)
    for target, seconds in ((LINUX_6_1, 10), (GOLDFISH_3_4.on("sdk"), 60)):
        bench.run(target=target, scenarios=("report",))
        assert f"echo {seconds} > /proc/sys/kernel/hung_task_" in bench.device.commands[-1]


def test_the_command_can_be_repeated(bench: Bench) -> None:
    bench.run(scenarios=("report",), source="/a b", extra_patches=(Path("x.patch"),))
    assert bench.command == (
        "./inv emulator-test --policy rss --trigger alloc --kernel linux-6.1 --emulator qemu"
        " --source '/a b' --scenario report --patch x.patch\n"
    )


def test_the_source_is_in_the_results(bench: Bench) -> None:
    bench.run(scenarios=("report",))
    assert bench.verdict["source"] == {
        "origin": "the fake kernel",
        "commit": COMMIT,
        "changed files": ["a.c"],
    }


def test_what_a_branch_was_at_is_what_is_repeated(bench: Bench) -> None:
    assert isinstance(GOLDFISH_3_4.source, GitSource)
    bench.run(target=GOLDFISH_3_4, scenarios=("report",))
    assert bench.command.endswith(f" --source {GOLDFISH_3_4.source.url}@{COMMIT}\n")
    bench.run(target=GOLDFISH_3_4, scenarios=("report",), source="/tree")
    assert bench.command.count("--source") == 1
