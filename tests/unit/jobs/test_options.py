# SPDX-License-Identifier: MIT
"""The commands that repeat a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.jobs.options import EmulatorTestOptions, FuzzOptions
from harness.targets.linux_6_1 import LINUX_6_1

CHANGED = LINUX_6_1.with_cross_compile("arm-x-").checking_itself()
FUZZ = FuzzOptions(target=LINUX_6_1, seed=0)
TEST = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")
BUILT = ("--kernel", "linux-6.1", "--emulator", "qemu")


def test_what_is_the_default_is_not_named() -> None:
    assert TEST.command() == (
        *("./inv", "emulator-test", "--policy", "rss", "--trigger", "alloc", *BUILT),
    )
    assert FUZZ.command() == ("./inv", "fuzz", *BUILT, "--seed", "0", "--minutes", "1")


def test_the_command_names_what_was_tested() -> None:
    options = EmulatorTestOptions(
        target=CHANGED,
        policy="all",
        trigger="daemon",
        source="/tree",
        patches=(Path("a.patch"), Path("b.patch")),
        jobs="2",
        scenarios=("report", "course"),
        config=Path("up.config"),
        avd="gfoom",
        snapshot=False,
        differential=True,
        kcidb_origin="my_lab",
        results=Path("/elsewhere"),
    )
    assert options.command() == (
        *("./inv", "emulator-test", "--policy", "all", "--trigger", "daemon", *BUILT),
        *("--source", "/tree", "--debug", "--cross-compile", "arm-x-", "--avd", "gfoom"),
        *("--no-snapshot", "--jobs", "2", "--differential"),
        *("--scenario", "report", "--scenario", "course"),
        *("--patch", "a.patch", "--patch", "b.patch", "--config", "up.config"),
    )


def test_the_command_names_what_was_fuzzed() -> None:
    options = FuzzOptions(
        target=CHANGED,
        source="/tree",
        patches=(Path("a.patch"),),
        jobs="2",
        seed=7,
        minutes=0.5,
    )
    built = (
        *("./inv", "fuzz", *BUILT, "--source", "/tree", "--debug", "--cross-compile", "arm-x-"),
        *("--patch", "a.patch"),
    )
    assert options.command() == (*built, *("--seed", "7", "--minutes", "0.5", "--jobs", "2"))
    assert options.of_round(9).command() == (*built, "--seed", "9", "--rounds", "1")


@pytest.mark.parametrize(
    "options",
    [
        FuzzOptions(target=LINUX_6_1, seed=1, replay_of=Path("a b.tar.gz")),
        FuzzOptions(target=LINUX_6_1, seed=1, replay_of=Path("a b.tar.gz")).of_round(3),
        EmulatorTestOptions(
            target=LINUX_6_1, policy="rss", trigger="alloc", replay_of=Path("a b.tar.gz")
        ),
    ],
)
def test_a_replay_is_repeated_from_its_bundle(
    options: EmulatorTestOptions | FuzzOptions,
) -> None:
    assert options.command() == ("./inv", "replay", "a b.tar.gz")
