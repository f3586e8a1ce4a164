# SPDX-License-Identifier: MIT
"""The commands that repeat a run."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import pytest
from fake_guest import FakeGuests
from invoke.tasks import Task

import tasks
from harness.jobs import bisect, build_bundle, emulator_test, fuzz
from harness.jobs.options import (
    BisectOptions,
    BuildOptions,
    EmulatorTestOptions,
    FuzzOptions,
    Options,
)
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import GitSource
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
BISECT = BisectOptions(test=TEST, source="/linux", good="v6.1.100", bad="HEAD")
WHOLE_BISECT = replace(
    BISECT,
    test=replace(WHOLE_TEST, source=None, snapshot=True, differential=False),
    boot_fails_is_bad=True,
)
# What a bundle has is not built: the options of a build are of no use beside it.
OF_BUNDLE = replace(
    TEST,
    bundle=bundles.unpacked(Path("a b.tar.gz")),
    scenarios=("report",),
    snapshot=False,
    jobs="2",
)
FUZZ_OF_BUNDLE = replace(FUZZ, bundle=OF_BUNDLE.bundle, rounds=3)
BUILD = BuildOptions(target=LINUX_6_1)
WHOLE_BUILD = BuildOptions(
    target=CHANGED, source="/tree", patches=(Path("a.patch"),), config=Path("up.config")
)
# --cross-compile and --toolchain exclude each other.
BY_CLANG, FUZZ_BY_CLANG = replace(TEST, target=CLANG), replace(FUZZ, target=CLANG)
BISECT_BY_CLANG = replace(BISECT, test=BY_CLANG)


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


def test_the_command_of_a_bisect() -> None:
    ends = ("--source", "/linux", "--good", "v6.1.100", "--bad", "HEAD")
    assert BISECT.command() == ("./inv", "bisect", *ends, *TEST.command()[2:])
    words = (*ends, "--boot-fails-is-bad", *WHOLE_BISECT.test.command()[2:])
    assert WHOLE_BISECT.command() == ("./inv", "bisect", *words)


def test_a_source_that_will_be_gone_is_not_named() -> None:
    copied = replace(TEST, source="/a copy", lasting_source="/linux@0123")
    assert copied.command() == replace(TEST, source="/linux@0123").command()


@pytest.mark.parametrize(
    ("task", "commands"),
    [
        (
            tasks.emulator_test,
            [WHOLE_TEST.command(), BY_CLANG.command(), OF_BUNDLE.command()],
        ),
        (
            tasks.fuzz,
            [
                WHOLE_FUZZ.command(),
                WHOLE_FUZZ.of_round(9).command(),
                FUZZ_BY_CLANG.command(),
                FUZZ_OF_BUNDLE.command(),
            ],
        ),
        (tasks.bisect, [WHOLE_BISECT.command(), BISECT_BY_CLANG.command()]),
        (tasks.bundle, [WHOLE_BUILD.command(), replace(BUILD, target=CLANG).command()]),
    ],
    ids=["emulator-test", "fuzz", "bisect", "bundle"],
)
def test_the_commands_name_every_option(task: Task[Any], commands: list[tuple[str, ...]]) -> None:
    # A command repeats one run.
    options = set(inspect.signature(task.body).parameters) - {"ctx", "watch", "result", "output"}
    words = {word for command in commands for word in command if word.startswith("--")}
    assert {re.sub("^--(no-)?", "", word).replace("-", "_") for word in words} == options


@pytest.mark.parametrize(
    "options",
    [
        *(TEST, WHOLE_TEST, BY_CLANG, FUZZ, WHOLE_FUZZ, FUZZ.of_round(9), FUZZ_BY_CLANG),
        *(BISECT, WHOLE_BISECT, BISECT_BY_CLANG),
    ],
)
def test_the_tasks_understand_the_command(
    monkeypatch: pytest.MonkeyPatch, options: EmulatorTestOptions | FuzzOptions | BisectOptions
) -> None:
    seen: list[Options | BisectOptions] = []

    def run(_ws: object, given: Options | BisectOptions) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr(emulator_test, "run", run)
    monkeypatch.setattr(fuzz, "run", run)
    monkeypatch.setattr(bisect, "run", run)
    program = InvProgram(name="inv", binary="./inv", config_class=InvConfig)
    program.run(list(options.command()), exit=False)
    assert seen == [options]


def test_the_commands_of_a_bundle() -> None:
    assert OF_BUNDLE.command() == (
        *("./inv", "emulator-test", "--policy", "rss", "--trigger", "alloc"),
        *("--bundle", "a b.tar.gz", "--no-snapshot", "--jobs", "2", "--scenario", "report"),
    )
    assert FUZZ_OF_BUNDLE.of_round(9).command() == (
        *("./inv", "fuzz", "--bundle", "a b.tar.gz", "--seed", "9", "--rounds", "1"),
    )
    assert WHOLE_BUILD.command() == (
        *("./inv", "bundle", "--build", *BUILT, "--source", "/tree", "--debug"),
        *("--cross-compile", "arm-x-", "--patch", "a.patch", "--config", "up.config"),
    )


def test_the_tasks_open_the_bundle_that_a_command_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Options] = []

    def run(_ws: object, given: Options) -> int:
        seen.append(given)
        return 0

    for job in (emulator_test, fuzz):
        monkeypatch.setattr(job, "run", run)
    FakeGuests(monkeypatch, tmp_path / "tools")
    file = bundles.bundle(tmp_path / "a b.tar.gz", **bundles.ONLY_BUILT)
    program = InvProgram(name="inv", binary="./inv", config_class=InvConfig)
    for options in (OF_BUNDLE, FUZZ_OF_BUNDLE):
        asked = replace(options, bundle=bundles.unpacked(file))
        program.run(list(asked.command()), exit=False)
        found = seen[-1].bundle
        assert found is not None
        assert (found.file, found.manifest.schema, found.target) == (file, 2, LINUX_6_1)
        assert seen[-1] == replace(asked, bundle=found)


def test_the_build_of_a_bundle_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, ...]] = []
    monkeypatch.setattr(build_bundle, "run", lambda _ws, *given: seen.append(given))
    program = InvProgram(name="inv", binary="./inv", config_class=InvConfig)
    program.run(list(WHOLE_BUILD.command()), exit=False)
    program.run([*BUILD.command(), "--output", "x"], exit=False)
    assert seen == [(WHOLE_BUILD, None, None), (BUILD, Path("x"), None)]


def test_the_source_of_a_branch_is_pinned() -> None:
    build = BuildOptions(target=GOLDFISH_3_4)
    source = GOLDFISH_3_4.source
    assert isinstance(source, GitSource)
    assert build.at_commit("0123").source == f"{source.url}@0123"
    assert BUILD.at_commit("0123") == BUILD
    assert WHOLE_BUILD.at_commit("0123") == WHOLE_BUILD


@pytest.mark.parametrize("options", [WHOLE_TEST, WHOLE_FUZZ, WHOLE_FUZZ.of_round(3)])
def test_a_replay_is_repeated_from_its_bundle(
    options: EmulatorTestOptions | FuzzOptions,
) -> None:
    again = replace(options, bundle=bundles.unpacked(Path("a b.tar.gz")), is_replay=True)
    assert again.command() == ("./inv", "replay", "a b.tar.gz")
