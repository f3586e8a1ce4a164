# SPDX-License-Identifier: MIT
"""The build of the device's programs: with the real cross-compiler, and its failures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_ndk import BUILDS, R11, arm_program, make_ndk
from stand_ins import workspace

from harness.build import programs
from harness.build.elfcheck import read_elf
from harness.build.programs import PROGRAMS, ProgramBuild
from harness.core.errors import BuildError, ToolMissingError
from harness.core.paths import NDK_TESTS
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.workspace import Workspace


def entries(ws: Workspace) -> list[Path]:
    """All that a build has left in the cache, whole or not."""
    folder = ws.cache.root / "programs"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def refused(ws: Workspace, target: Target, message: str) -> BuildError:
    """The error of a build, which leaves no entry."""
    with pytest.raises(BuildError, match=message) as caught:
        programs.build(ws, target)
    assert entries(ws) == []
    return caught.value


@pytest.fixture
def own_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources that a test may spoil."""
    copy = tmp_path / "ndk_tests"
    shutil.copytree(NDK_TESTS, copy)
    monkeypatch.setattr(programs, "NDK_TESTS", copy)
    return copy


# In place of a compiler: whatever it is to make is a copy of one program.
COPIES = """\
[ "$1" != --version ] || exec echo "copies 1.0"
while [ "$1" != -o ]; do shift; done
exec cp {program} "$2"
"""


@pytest.fixture
def copied(tmp_path: Path, put_on_path: Callable[[str, str], Path]) -> Target:
    """A target whose programs are made at once; what they do is nothing to the test."""
    program = arm_program(tmp_path / "program", hard_float=True)
    put_on_path("copying-gcc", COPIES.format(program=program))
    return replace(LINUX_6_1, programs_cross_compile="copying-")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ProgramBuild:
    return programs.build(workspace(tmp_path_factory.mktemp("cache")), LINUX_6_1)


def build_again(built: ProgramBuild) -> ProgramBuild:
    """What a build with the same cache gives."""
    return programs.build(workspace(built.folder.parent.parent), LINUX_6_1)


def test_every_program_is_static_and_for_the_target(built: ProgramBuild) -> None:
    assert {"oom_test_kernel", "oom_daemon", "watch_memory"} <= set(built.names)
    for name in built.names:
        facts = read_elf(built.path(name))
        assert (facts.machine, facts.interpreter, facts.needed) == ("EM_ARM", None, ())
        assert facts.hard_float is True
    with pytest.raises(KeyError):
        built.path("oom_test_kernelARM")


def files_of(build: ProgramBuild) -> set[str]:
    return {path.name for path in build.folder.iterdir()}


def test_nothing_is_built_twice_or_left_over(built: ProgramBuild) -> None:
    before = built.path("oom_daemon").stat().st_mtime_ns
    assert build_again(built) == built
    assert built.path("oom_daemon").stat().st_mtime_ns == before
    assert files_of(built) == {*built.names, "include", ".seal"}


def check_header(build: ProgramBuild) -> None:
    """The programs have the numbers of goldfish."""
    header = (build.folder / "include" / programs.HEADER).read_text()
    assert "#define __NR_set_mm_limits 378\n#define __NR_my_oom_killer 382\n" in header


def test_other_numbers_make_other_programs(ws: Workspace, copied: Target) -> None:
    other = programs.build(ws, replace(copied, syscalls=GOLDFISH_3_4.syscalls))
    assert other.key != programs.build(ws, copied).key
    check_header(other)


def test_a_changed_source_makes_another_key(
    ws: Workspace, copied: Target, own_sources: Path
) -> None:
    before = programs.build(ws, copied).key
    with (own_sources / "common" / "hog.c").open("a") as stream:
        stream.write("/* changed */\n")
    changed = programs.build(ws, copied).key
    assert changed != before
    (own_sources / "README.md").write_text("other words\n")
    assert programs.build(ws, copied).key == changed


def test_a_mistake_in_c_is_told_and_leaves_no_entry(ws: Workspace, own_sources: Path) -> None:
    with (own_sources / "bench_work" / "jni" / "bench_work.c").open("a") as stream:
        stream.write("static int unused;\n")
    error = refused(ws, LINUX_6_1, "build of the test programs failed")
    assert error.log is not None
    assert "unused" in error.log.read_text()


def test_a_program_that_would_not_run_leaves_no_entry(ws: Workspace, copied: Target) -> None:
    soft = replace(copied, elf=replace(copied.elf, hard_float=False))
    refused(ws, soft, "float ABI is hard, not soft")


def test_a_program_that_is_not_built_is_missed(
    ws: Workspace, copied: Target, own_sources: Path
) -> None:
    (own_sources / "oom_daemon" / "jni" / "Android.mk").unlink()
    refused(ws, copied, "oom_daemon was not built")


def test_a_missing_c_library_is_recognised(
    ws: Workspace, put_on_path: Callable[[str, str], Path]
) -> None:
    # A compiler without its library cannot be had here; its words can.
    words = "echo 'ld: cannot find -lc: No such file' >&2; exit 1"
    put_on_path("bare-gcc", f'[ "$1" = --version ] || {{ {words}; }}')
    error = refused(ws, replace(LINUX_6_1, programs_cross_compile="bare-"), "programs failed")
    assert "C library" in error.hint


def test_the_make_file_says_what_it_needs(tmp_path: Path) -> None:
    makefile = NDK_TESTS / "build" / "Makefile"
    for given, missing in (([], "OUT"), ([f"OUT={tmp_path}"], "MM_LIMITS_INCLUDE")):
        ended = subprocess.run(
            ["make", "-f", makefile, *given], capture_output=True, text=True, check=False
        )
        assert ended.returncode != 0
        assert f"{missing} must name the folder" in ended.stderr


FOR_DEBIANS = "to have Debian's compiler build the programs"


# --- by ndk-build ------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_ndk(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        monkeypatch.delenv(variable, raising=False)


@dataclass(frozen=True)
class FakeNdk:
    """An NDK of r11 that ANDROID_NDK_HOME names; what it builds is a copy of `program`."""

    root: Path
    program: Path

    def builds_by(self, script: str) -> None:
        """Has another script as ndk-build, with the program's path in the place of {program}."""
        build = self.root / "ndk-build"
        build.write_text(f'#!/bin/sh\necho "$*" >>$0.words\n{script}'.format(program=self.program))

    def calls(self) -> list[str]:
        """The words of each call of ndk-build."""
        return (self.root / "ndk-build.words").read_text().splitlines()


@pytest.fixture
def fake_ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNdk:
    build = make_ndk(tmp_path / "ndk", properties=R11, newest_api=None)
    monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))
    made = FakeNdk(build.parent, arm_program(tmp_path / "program"))
    made.builds_by(BUILDS)
    return made


def test_an_ndk_builds_the_programs_and_no_compiler_is_looked_for(
    ws: Workspace, fake_ndk: FakeNdk
) -> None:
    target = replace(GOLDFISH_3_4, programs_cross_compile="arm-none-such-")
    build = programs.build(ws, target)
    assert files_of(build) == {*build.names, "include", ".seal"}
    assert build.path("oom_daemon").read_bytes() == fake_ndk.program.read_bytes()
    check_header(build)
    called = fake_ndk.calls()
    projects = [line.split()[0].removeprefix("NDK_PROJECT_PATH=") for line in called]
    assert projects == [str(NDK_TESTS / name) for name in programs.PROGRAMS]
    assert all(" APP_ABI=armeabi-v7a " in line for line in called)
    log = (ws.logs / "programs-goldfish-3.4.log").read_text()
    assert "[armeabi-v7a] Install : oom_daemon" in log
    # A second time there is nothing to do.
    assert programs.build(ws, target) == build
    assert fake_ndk.calls() == called


def test_another_ndk_builds_anew(ws: Workspace, fake_ndk: FakeNdk) -> None:
    keys = {programs.build(ws, GOLDFISH_3_4).key}
    (fake_ndk.root / "source.properties").write_text("Pkg.Revision = 27.0.12077973\n")
    keys.add(programs.build(ws, GOLDFISH_3_4).key)
    assert not any("APP_PLATFORM" in line for line in fake_ndk.calls())
    (fake_ndk.root / "meta").mkdir()
    (fake_ndk.root / "meta" / "platforms.json").write_text('{"min": 16, "max": 28}')
    keys.add(programs.build(ws, GOLDFISH_3_4).key)
    newest = [line for line in fake_ndk.calls() if " APP_PLATFORM=android-28 " in line]
    assert len(newest) == len(programs.PROGRAMS)
    assert len(keys) == len(entries(ws)) == 3


def test_the_hint_names_what_led_to_the_ndk(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = make_ndk(tmp_path / "ndk", "exit 1")
    monkeypatch.setenv("PATH", f"{build.parent}", prepend=":")
    error = refused(ws, GOLDFISH_3_4, "failed")
    assert error.hint == f"this is NDK 27.0.12077973; take ndk-build off PATH {FOR_DEBIANS}"


def test_an_ndk_is_nothing_to_a_target_that_is_not_for_one(
    built: ProgramBuild, fake_ndk: FakeNdk
) -> None:
    (fake_ndk.root / "ndk-build").unlink()
    assert build_again(built) == built


def test_a_variable_that_names_no_ndk_stops_the_build(ws: Workspace, fake_ndk: FakeNdk) -> None:
    (fake_ndk.root / "ndk-build").unlink()
    with pytest.raises(ToolMissingError, match="where there is no ndk-build"):
        programs.build(ws, GOLDFISH_3_4)


def test_without_an_ndk_the_compiler_of_the_target_is_wanted(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(ws.cache.root))
    with pytest.raises(ToolMissingError) as caught:
        programs.build(ws, GOLDFISH_3_4)
    assert caught.value.message == "not installed: make, arm-linux-gnueabi-gcc"
    assert "gcc-arm-linux-gnueabi make" in caught.value.hint


def test_an_ndk_build_that_fails_is_told_and_leaves_no_entry(
    ws: Workspace, fake_ndk: FakeNdk
) -> None:
    fails = "case $* in */oom_daemon/*) echo 'oom_daemon.c:1: error: no'; exit 2 ;; esac\n"
    fake_ndk.builds_by(fails + BUILDS)
    error = refused(ws, GOLDFISH_3_4, "ndk-build of oom_daemon failed")
    assert error.tail.splitlines()[-1] == "oom_daemon.c:1: error: no"
    assert error.hint == f"this is NDK 11.2.2725575; unset ANDROID_NDK_HOME {FOR_DEBIANS}"
    assert error.log is not None
    assert "error: no" in error.log.read_text()


OTHER_ABI = BUILDS.replace("abi=${{word#*=}}", "abi=arm64-v8a")


@pytest.mark.parametrize("text", ["exit 0", OTHER_ABI], ids=["nothing", "another ABI"])
def test_an_ndk_build_that_makes_nothing_of_use(
    ws: Workspace, fake_ndk: FakeNdk, text: str
) -> None:
    fake_ndk.builds_by(text)
    assert refused(ws, GOLDFISH_3_4, f"left no {PROGRAMS[0]} for armeabi-v7a").log is not None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hard_float": True}, "float ABI is hard, not soft"),
        ({"interpreter": "/system/bin/linker"}, "not static: it asks for /system/bin/linker"),
        ({"tls_alignment": 8}, "TLS segment is aligned to 8, and bionic aborts below 32"),
        (None, f"{PROGRAMS[0]} is not a whole ELF file"),
    ],
)
def test_a_program_of_an_ndk_that_would_not_run_leaves_no_entry(
    ws: Workspace, fake_ndk: FakeNdk, options: dict[str, Any] | None, problem: str
) -> None:
    if options is None:
        fake_ndk.program.write_text("no ELF file\n")
    else:
        arm_program(fake_ndk.program, **options)
    refused(ws, GOLDFISH_3_4, problem)
