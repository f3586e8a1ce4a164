# SPDX-License-Identifier: MIT
"""The commands that repeat a run."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invoke.tasks import Task

import tasks
from harness.jobs import emulator_test, fuzz
from harness.jobs.options import EmulatorTestOptions, FuzzOptions, Options
from harness.targets.linux_6_1 import LINUX_6_1
from inv_program import InvConfig, InvProgram

CHANGED = LINUX_6_1.with_cross_compile("arm-x-").checking_itself()
CLANG = LINUX_6_1.with_toolchain("llvm")
BUILT = ("--kernel", "linux-6.1", "--emulator", "qemu")
TEST = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")
WHOLE_TEST = EmulatorTestOptions(
    target=CHANGED,
    policy="all",
    trigger="daemon",
    source="/a tree",
    patches=(Path("a.patch"), Path("b.patch")),
    jobs="2",
    scenarios=("report", "course"),
    config=Path("up.config"),
    avd="gfoom",
    snapshot=False,
    differential=True,
)
FUZZ = FuzzOptions(target=LINUX_6_1, seed=0)
WHOLE_FUZZ = FuzzOptions(
    target=CHANGED, source="/tree", patches=(Path("a.patch"),), jobs="2", seed=7, minutes=0.5
)
# --cross-compile and --toolchain exclude each other.
BY_CLANG, FUZZ_BY_CLANG = replace(TEST, target=CLANG), replace(FUZZ, target=CLANG)


def test_the_command_of_a_test() -> None:
    assert TEST.command() == (
        *("./inv", "emulator-test", "--policy", "rss", "--trigger", "alloc", *BUILT),
    )
    assert WHOLE_TEST.command() == (
        *("./inv", "emulator-test", "--policy", "all", "--trigger", "daemon", *BUILT),
        *("--source", "/a tree", "--debug", "--cross-compile", "arm-x-", "--avd", "gfoom"),
        *("--no-snapshot", "--jobs", "2", "--differential"),
        *("--scenario", "report", "--scenario", "course"),
        *("--patch", "a.patch", "--patch", "b.patch", "--config", "up.config"),
    )


def test_the_command_of_a_test_by_clang() -> None:
    assert BY_CLANG.command() == (*TEST.command(), "--toolchain", "llvm")


def test_the_command_of_fuzzing() -> None:
    assert FUZZ.command() == ("./inv", "fuzz", *BUILT, "--seed", "0", "--minutes", "1")
    built = (
        *("./inv", "fuzz", *BUILT, "--source", "/tree", "--debug", "--cross-compile", "arm-x-"),
        *("--patch", "a.patch"),
    )
    assert WHOLE_FUZZ.command() == (*built, "--seed", "7", "--minutes", "0.5", "--jobs", "2")
    assert WHOLE_FUZZ.of_round(9).command() == (*built, "--seed", "9", "--rounds", "1")


@pytest.mark.parametrize(
    ("task", "commands"),
    [
        (tasks.emulator_test, [WHOLE_TEST.command(), BY_CLANG.command()]),
        (
            tasks.fuzz,
            [WHOLE_FUZZ.command(), WHOLE_FUZZ.of_round(9).command(), FUZZ_BY_CLANG.command()],
        ),
    ],
    ids=["emulator-test", "fuzz"],
)
def test_the_commands_name_every_option(task: Task[Any], commands: list[tuple[str, ...]]) -> None:
    # A command repeats one run.
    options = set(inspect.signature(task.body).parameters) - {"ctx", "watch"}
    words = {word for command in commands for word in command if word.startswith("--")}
    assert {re.sub("^--(no-)?", "", word).replace("-", "_") for word in words} == options


@pytest.mark.parametrize(
    "options",
    [TEST, WHOLE_TEST, BY_CLANG, FUZZ, WHOLE_FUZZ, FUZZ.of_round(9), FUZZ_BY_CLANG],
)
def test_the_tasks_understand_the_command(
    monkeypatch: pytest.MonkeyPatch, options: EmulatorTestOptions | FuzzOptions
) -> None:
    seen: list[Options] = []

    def run(_ws: object, given: Options) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr(emulator_test, "run", run)
    monkeypatch.setattr(fuzz, "run", run)
    program = InvProgram(name="inv", binary="./inv", config_class=InvConfig)
    program.run(list(options.command()), exit=False)
    assert seen == [options]


@pytest.mark.parametrize("options", [WHOLE_TEST, WHOLE_FUZZ, WHOLE_FUZZ.of_round(3)])
def test_a_replay_is_repeated_from_its_bundle(
    options: EmulatorTestOptions | FuzzOptions,
) -> None:
    again = replace(options, replay_of=Path("a b.tar.gz"))
    assert again.command() == ("./inv", "replay", "a b.tar.gz")
