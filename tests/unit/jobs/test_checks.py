# SPDX-License-Identifier: MIT
"""`./inv test`: what runs, what stops it, and what is shown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from fakekernel import make_repository

from harness.core.boot_tests import boot_test_file
from harness.core.errors import InfrastructureError, UsageError, VerdictError
from harness.core.paths import REPO
from harness.jobs import checks
from harness.jobs.checks import Check
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.ui.workspace import Workspace


def check(name: str, status: int = 0, *, shown: bool = False) -> Check:
    return Check(name, lambda: ("sh", "-c", f"echo output of {name}; exit {status}"), shown)


def test_output_is_shown_of_what_failed_or_asks_for_it(ws: Workspace, said: io.StringIO) -> None:
    with pytest.raises(VerdictError, match=r"not passed: b$"):
        checks.run(ws, (check("a"), check("b", 1), check("c", shown=True)))
    lines = said.getvalue().splitlines()
    assert "output of a" not in lines
    assert lines.count("output of b") == 1
    assert lines.count("output of c") == 1


def test_a_group_runs_to_its_end_and_the_next_does_not_begin(
    ws: Workspace, said: io.StringIO
) -> None:
    groups = ((check("a", 1), check("b", 1)), (check("c"),))
    with pytest.raises(VerdictError, match=r"not passed: a, b$"):
        checks.run(ws, *groups)
    assert "c: done" not in said.getvalue()


def test_a_check_that_did_not_run_is_no_verdict(ws: Workspace) -> None:
    with pytest.raises(InfrastructureError, match=r"a did not run \(status 5\)"):
        checks.run(ws, (check("a", 5),))


def test_shell_scripts() -> None:
    scripts = checks.shell_scripts()
    assert {"inv", ".ci/run"} <= set(scripts)
    assert not any(name.endswith(".py") for name in scripts)


@pytest.mark.parametrize(
    ("first_line", "is_shell"),
    [
        ("#!/bin/sh", True),
        ("#! /system/bin/sh", True),
        ("#!/usr/bin/env sh", True),
        ("#!/usr/bin/python3", False),
        ("echo sh", False),
        ("", False),
    ],
)
def test_is_shell(tmp_path: Path, first_line: str, is_shell: bool) -> None:
    path = tmp_path / "script"
    path.write_text(f"{first_line}\n")
    assert checks._is_shell(path) == is_shell


@pytest.mark.parametrize(("cpus", "processes"), [(1, "2"), (2, "4"), (64, "8")])
def test_unit_tests_take_all_cpus(cpus: int, processes: str) -> None:
    words = checks._unit_tests(cpus)
    assert list(words[1:6]) == ["-m", "pytest", "tests/unit", "-n", processes]
    (check,) = checks.UNIT_TESTS
    assert check.argv()[:4] == words[:4]


@pytest.mark.parametrize(
    ("jobs", "name", "words"),
    [
        ("1", "boot tests", []),
        ("3", "boot tests, 3 guests", ["-n", "3", "--dist", "loadfile"]),
    ],
)
def test_boot_tests_side_by_side(jobs: str, name: str, words: list[str]) -> None:
    (check,) = checks.boot_tests(LINUX_6_1, jobs)
    assert check.name == name
    kernel = ["--kernel", "linux-6.1", "-rs"]
    assert list(check.argv())[1:] == ["-m", "pytest", "tests/boot", *kernel, *words]
    (check,) = checks.boot_tests(LINUX_6_1.checking_itself(), jobs)
    assert "on the kernel that checks itself" in check.name
    assert "--debug-kernel" in check.argv()


def test_boot_tests_of_a_kernel_by_clang() -> None:
    (check,) = checks.boot_tests(LINUX_6_1.with_toolchain("llvm"), "1")
    assert check.name == "boot tests (clang)"
    assert " ".join(check.argv()).endswith("--kernel linux-6.1 --toolchain llvm -rs")


def test_boot_tests_of_another_kernel_and_source() -> None:
    (check,) = checks.boot_tests(replace(GOLDFISH_3_4, given_source="/a/tree"), "1")
    words = " ".join(check.argv())
    assert words.endswith("tests/boot --kernel goldfish-3.4 --source /a/tree -rs")


def test_a_source_is_looked_at_before_the_tests_and_named_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = make_repository(tmp_path, monkeypatch)
    monkeypatch.chdir(fake.pristine.parent)
    found = checks.on_source(fake.ws, fake.target, fake.pristine.name)
    assert found.given_source == str(fake.pristine)
    assert checks.on_source(fake.ws, fake.target, None) == fake.target
    with pytest.raises(UsageError, match="no such file or directory"):
        checks.on_source(fake.ws, fake.target, "nowhere")


def test_some_boot_tests_are_left_out() -> None:
    (check,) = checks.boot_tests(LINUX_6_1, "1", without=checks.LONG_BOOT_TESTS)
    names = ("bisect", "debug_kernel", "edits", "one_cpu")
    ignored = {f"--ignore=tests/boot/test_{name}.py" for name in names}
    assert ignored <= set(check.argv())


def test_no_more_guests_than_files_of_boot_tests() -> None:
    with pytest.raises(UsageError, match="60 guests are too many"):
        checks.boot_tests(LINUX_6_1, "60")


@pytest.mark.parametrize(
    "name",
    ["slots", "test_slots", "test_slots.py", "slots.py", "tests/boot/test_slots.py"],
)
def test_boot_tests_of_one_file(name: str) -> None:
    (check,) = checks.boot_tests(LINUX_6_1, "1", [name])
    assert list(check.argv())[1:5] == ["-m", "pytest", "tests/boot/test_slots.py", "--kernel"]
    assert check.name == "boot tests in test_slots.py"


def test_boot_tests_of_a_path_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO / "tests")
    assert boot_test_file("boot/test_slots.py") == "tests/boot/test_slots.py"
    monkeypatch.chdir(tmp_path)
    assert boot_test_file(str(REPO / "tests/boot/test_slots.py"))


def test_boot_tests_of_several_files() -> None:
    (check,) = checks.boot_tests(LINUX_6_1, "2", ["slots", "fuzz", "test_slots.py"])
    words = ["-m", "pytest", "tests/boot/test_slots.py", "tests/boot/test_fuzz.py"]
    assert list(check.argv())[1:5] == words
    with pytest.raises(UsageError, match="2 guests are too many"):
        checks.boot_tests(LINUX_6_1, "2", ["slots"])


@pytest.mark.parametrize("name", ["slot", "", "..", "conftest", "/etc/passwd", "tests/boot", "a\n"])
def test_no_such_file_of_boot_tests(name: str) -> None:
    with pytest.raises(UsageError, match="is no file of boot tests") as wrong:
        checks.boot_tests(LINUX_6_1, "1", [name])
    assert " slots," in wrong.value.hint
    assert "\n" not in wrong.value.message
