# SPDX-License-Identifier: MIT
"""The build of the device's programs: with the real cross-compiler, and its failures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_ndk import BUILDS, R11, arm_program, make_ndk
from stand_ins import script, workspace

from harness.build import programs
from harness.build.elfcheck import read_elf
from harness.build.programs import PROGRAMS
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


@pytest.fixture
def own_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources that a test may spoil."""
    copy = tmp_path / "ndk_tests"
    shutil.copytree(NDK_TESTS, copy)
    monkeypatch.setattr(programs, "NDK_TESTS", copy)
    return copy


# In place of a compiler: whatever it is to make is a copy of one program.
COPIES = """#!/bin/sh
[ "$1" != --version ] || exec echo "copies 1.0"
while [ "$1" != -o ]; do shift; done
exec cp {program} "$2"
"""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A target whose programs are made at once; what they do is nothing to the test."""
    program = arm_program(tmp_path / "program", hard_float=True)
    compiler = tmp_path / "bin" / "copying-gcc"
    compiler.parent.mkdir()
    compiler.write_text(COPIES.format(program=program))
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}", prepend=":")
    return replace(LINUX_6_1, programs_cross_compile="copying-")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, programs.ProgramBuild]:
    ws = workspace(tmp_path_factory.mktemp("cache"))
    return ws, programs.build(ws, LINUX_6_1)


def test_every_program_is_static_and_for_the_target(
    built: tuple[Workspace, programs.ProgramBuild],
) -> None:
    _, build = built
    assert {"oom_test_kernel", "oom_daemon", "watch_memory"} <= set(build.names)
    for name in build.names:
        facts = read_elf(build.path(name))
        assert (facts.machine, facts.interpreter, facts.needed) == ("EM_ARM", None, ())
        assert facts.hard_float is True
    with pytest.raises(KeyError):
        build.path("oom_test_kernelARM")


def test_nothing_is_built_twice_or_left_over(
    built: tuple[Workspace, programs.ProgramBuild],
) -> None:
    ws, build = built
    before = build.path("oom_daemon").stat().st_mtime_ns
    assert programs.build(ws, LINUX_6_1) == build
    assert build.path("oom_daemon").stat().st_mtime_ns == before
    assert sorted(p.name for p in build.folder.iterdir()) == sorted(
        [*build.names, "include", ".seal"]
    )


def test_other_numbers_make_other_programs(copied: Target, tmp_path: Path) -> None:
    ws = workspace(tmp_path / "cache")
    other = programs.build(
        ws, replace(copied, syscalls={"set_mm_limits": 378, "my_oom_killer": 382})
    )
    assert other.key != programs.build(ws, copied).key
    header = (other.folder / "include" / programs.HEADER).read_text()
    assert "#define __NR_set_mm_limits 378\n#define __NR_my_oom_killer 382\n" in header


def test_a_changed_source_makes_another_key(
    copied: Target, own_sources: Path, tmp_path: Path
) -> None:
    ws = workspace(tmp_path / "cache")
    before = programs.build(ws, copied).key
    with (own_sources / "common" / "hog.c").open("a") as stream:
        stream.write("/* changed */\n")
    changed = programs.build(ws, copied).key
    assert changed != before
    (own_sources / "README.md").write_text("other words\n")
    assert programs.build(ws, copied).key == changed


def test_a_mistake_in_c_is_told_and_leaves_no_entry(own_sources: Path, tmp_path: Path) -> None:
    with (own_sources / "bench_work" / "jni" / "bench_work.c").open("a") as stream:
        stream.write("static int unused;\n")
    ws = workspace(tmp_path / "cache")
    with pytest.raises(BuildError, match="build of the test programs failed") as caught:
        programs.build(ws, LINUX_6_1)
    assert caught.value.log is not None
    assert "unused" in caught.value.log.read_text()
    assert entries(ws) == []


def test_a_program_that_would_not_run_leaves_no_entry(copied: Target, tmp_path: Path) -> None:
    ws = workspace(tmp_path / "cache")
    soft = replace(copied, elf=replace(copied.elf, hard_float=False))
    with pytest.raises(BuildError, match="float ABI is hard, not soft"):
        programs.build(ws, soft)
    assert entries(ws) == []


def test_a_program_that_is_not_built_is_missed(
    copied: Target, own_sources: Path, tmp_path: Path
) -> None:
    (own_sources / "oom_daemon" / "jni" / "Android.mk").unlink()
    with pytest.raises(BuildError, match="oom_daemon was not built"):
        programs.build(workspace(tmp_path / "cache"), copied)


def test_a_missing_compiler_is_named_with_its_package(tmp_path: Path) -> None:
    absent = replace(LINUX_6_1, programs_cross_compile="arm-none-such-")
    with pytest.raises(ToolMissingError, match="arm-none-such-gcc"):
        programs.build(workspace(tmp_path), absent)


def test_a_missing_c_library_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A compiler without its library cannot be had here; its words can.
    script(tmp_path / "bare-gcc", "echo 'ld: cannot find -lc: No such file' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}", prepend=":")
    with pytest.raises(BuildError) as caught:
        programs.compile_programs(
            tmp_path / "out", syscalls={}, cross_compile="bare-", jobs=1, log=tmp_path / "log"
        )
    assert "C library" in caught.value.hint


def test_the_make_file_says_what_it_needs(tmp_path: Path) -> None:
    makefile = NDK_TESTS / "build" / "Makefile"
    for given, missing in (([], "OUT"), ([f"OUT={tmp_path}"], "MM_LIMITS_INCLUDE")):
        ended = subprocess.run(
            ["make", "-f", makefile, *given], capture_output=True, text=True, check=False
        )
        assert ended.returncode != 0
        assert f"{missing} must name the folder" in ended.stderr


# --- by ndk-build ------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_ndk(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def use_ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has ANDROID_NDK_HOME name an NDK of r11 whose ndk-build is the script."""

    def use(script: str) -> None:
        build = make_ndk(tmp_path / "ndk", script, properties=R11, newest_api=None)
        monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))

    return use


def test_an_ndk_builds_the_programs_and_no_compiler_is_looked_for(
    tmp_path: Path, use_ndk: Callable[[str], None]
) -> None:
    words = tmp_path / "words"
    program = arm_program(tmp_path / "program")
    use_ndk(f'echo "$*" >>{words}\n' + BUILDS.format(program=program))
    ws = workspace(tmp_path / "cache")
    target = replace(GOLDFISH_3_4, programs_cross_compile="arm-none-such-")
    build = programs.build(ws, target)
    assert sorted(p.name for p in build.folder.iterdir()) == sorted(
        [*build.names, "include", ".seal"]
    )
    assert build.path("oom_daemon").read_bytes() == program.read_bytes()
    header = (build.folder / "include" / programs.HEADER).read_text()
    assert "#define __NR_set_mm_limits 378\n#define __NR_my_oom_killer 382\n" in header
    called = words.read_text().splitlines()
    projects = [line.split()[0].removeprefix("NDK_PROJECT_PATH=") for line in called]
    assert projects == [str(NDK_TESTS / name) for name in programs.PROGRAMS]
    assert all(" APP_ABI=armeabi-v7a " in line for line in called)
    log = (ws.logs / "programs-goldfish-3.4.log").read_text()
    assert "[armeabi-v7a] Install : oom_daemon" in log
    # A second time there is nothing to do.
    assert programs.build(ws, target) == build
    assert len(words.read_text().splitlines()) == len(called)


def test_another_ndk_builds_anew(tmp_path: Path, use_ndk: Callable[[str], None]) -> None:
    words = tmp_path / "words"
    program = arm_program(tmp_path / "program")
    use_ndk(f'echo "$*" >>{words}\n' + BUILDS.format(program=program))
    ws = workspace(tmp_path / "cache")
    keys = {programs.build(ws, GOLDFISH_3_4).key}
    (tmp_path / "ndk" / "source.properties").write_text("Pkg.Revision = 27.0.12077973\n")
    keys.add(programs.build(ws, GOLDFISH_3_4).key)
    assert "APP_PLATFORM" not in words.read_text()
    (tmp_path / "ndk" / "meta").mkdir()
    (tmp_path / "ndk" / "meta" / "platforms.json").write_text('{"min": 16, "max": 28}')
    keys.add(programs.build(ws, GOLDFISH_3_4).key)
    assert words.read_text().count(" APP_PLATFORM=android-28 ") == len(programs.PROGRAMS)
    assert len(keys) == len(entries(ws)) == 3


def test_the_hint_names_what_led_to_the_ndk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = make_ndk(tmp_path / "ndk", "exit 1")
    monkeypatch.setenv("PATH", f"{build.parent}", prepend=":")
    with pytest.raises(BuildError) as caught:
        programs.build(workspace(tmp_path / "cache"), GOLDFISH_3_4)
    assert caught.value.hint.startswith("this is NDK 27.0.12077973; take ndk-build off PATH ")


def test_an_ndk_is_nothing_to_a_target_that_is_not_for_one(
    built: tuple[Workspace, programs.ProgramBuild],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ws, build = built
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "none"))
    assert programs.build(ws, LINUX_6_1) == build


def test_a_variable_that_names_no_ndk_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "none"))
    with pytest.raises(ToolMissingError, match="where there is no ndk-build"):
        programs.build(workspace(tmp_path / "cache"), GOLDFISH_3_4)


def test_without_an_ndk_the_compiler_of_the_target_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught:
        programs.build(workspace(tmp_path / "cache"), GOLDFISH_3_4)
    assert caught.value.message == "not installed: make, arm-linux-gnueabi-gcc"
    assert "gcc-arm-linux-gnueabi make" in caught.value.hint


def test_an_ndk_build_that_fails_is_told_and_leaves_no_entry(
    tmp_path: Path, use_ndk: Callable[[str], None]
) -> None:
    use_ndk(
        "case $* in */oom_daemon/*) echo 'oom_daemon.c:1: error: no'; exit 2 ;; esac\n"
        + BUILDS.format(program=arm_program(tmp_path / "program"))
    )
    ws = workspace(tmp_path / "cache")
    with pytest.raises(BuildError, match="ndk-build of oom_daemon failed") as caught:
        programs.build(ws, GOLDFISH_3_4)
    assert caught.value.tail.splitlines()[-1] == "oom_daemon.c:1: error: no"
    assert caught.value.hint.startswith("this is NDK 11.2.2725575; unset ANDROID_NDK_HOME ")
    assert caught.value.log is not None
    assert "error: no" in caught.value.log.read_text()
    assert entries(ws) == []


OTHER_ABI = BUILDS.replace("abi=${{word#*=}}", "abi=arm64-v8a")


@pytest.mark.parametrize("text", ["exit 0", OTHER_ABI], ids=["nothing", "another ABI"])
def test_an_ndk_build_that_makes_nothing_of_use(
    tmp_path: Path, use_ndk: Callable[[str], None], text: str
) -> None:
    use_ndk(text.format(program=arm_program(tmp_path / "program")))
    ws = workspace(tmp_path / "cache")
    with pytest.raises(BuildError, match=f"left no {PROGRAMS[0]} for armeabi-v7a") as caught:
        programs.build(ws, GOLDFISH_3_4)
    assert caught.value.log is not None
    assert entries(ws) == []


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
    tmp_path: Path, use_ndk: Callable[[str], None], options: dict[str, Any] | None, problem: str
) -> None:
    program = arm_program(tmp_path / "program", **(options or {}))
    if options is None:
        program.write_text("no ELF file\n")
    use_ndk(BUILDS.format(program=program))
    ws = workspace(tmp_path / "cache")
    with pytest.raises(BuildError, match=problem):
        programs.build(ws, GOLDFISH_3_4)
    assert entries(ws) == []
