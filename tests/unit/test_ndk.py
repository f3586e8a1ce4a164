# SPDX-License-Identifier: MIT
"""Finding the NDK, the revision that it states, and the command that is given to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_ndk import R11, R27, make_ndk

from harness.errors import ToolMissingError
from harness.ndk import Ndk, find, ndk_build_argv
from harness.paths import NDK_TESTS
from harness.programs import PROGRAMS
from harness.targets import GOLDFISH_3_4, LINUX_6_1

# What r11 has platforms for, and what r27 still has.
FIRST_PLATFORM, LAST_PLATFORM = 21, 23


def argv(found: Ndk) -> list[str]:
    return ndk_build_argv(
        found,
        project=Path("/project"),
        abi="armeabi-v7a",
        folder=Path("/out"),
        include=Path("/include"),
        jobs=3,
    )


def test_without_an_ndk_there_is_none(tmp_path: Path) -> None:
    assert find({"PATH": str(tmp_path)}) is None


def test_an_empty_variable_names_nothing(tmp_path: Path) -> None:
    assert find({"PATH": str(tmp_path), "ANDROID_NDK_HOME": "", "ANDROID_NDK_ROOT": ""}) is None


@pytest.mark.parametrize("variable", ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"])
def test_a_variable_names_it(tmp_path: Path, variable: str) -> None:
    build = make_ndk(tmp_path / "ndk")
    on_path = make_ndk(tmp_path / "other", properties=R11)
    env = {"PATH": str(on_path.parent), variable: str(build.parent)}
    assert find(env) == Ndk(build, "27.0.12077973")


def test_the_environment_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = make_ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))
    assert find() == Ndk(build, "27.0.12077973")


def test_of_two_variables_home_counts(tmp_path: Path) -> None:
    home, root = make_ndk(tmp_path / "home"), make_ndk(tmp_path / "root")
    env = {"ANDROID_NDK_HOME": str(home.parent), "ANDROID_NDK_ROOT": str(root.parent)}
    found = find(env)
    assert found is not None
    assert found.build == home


def test_ndk_build_on_the_path(tmp_path: Path) -> None:
    build = make_ndk(tmp_path / "ndk")
    assert find({"PATH": f"/nowhere:{build.parent}"}) == Ndk(build, "27.0.12077973")


def test_the_revision_is_read_behind_a_link_on_the_path(tmp_path: Path) -> None:
    link = tmp_path / "bin" / "ndk-build"
    link.parent.mkdir()
    link.symlink_to(make_ndk(tmp_path / "ndk"))
    assert find({"PATH": str(link.parent)}) == Ndk(link, "27.0.12077973")


@pytest.mark.parametrize("variable", ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"])
def test_a_folder_without_ndk_build_is_an_error(tmp_path: Path, variable: str) -> None:
    good = make_ndk(tmp_path / "good")
    empty = tmp_path / "empty"
    # What is on PATH does not hide the mistake.
    with pytest.raises(ToolMissingError) as caught:
        find({"PATH": str(good.parent), variable: str(empty)})
    assert caught.value.message == f"{variable} is {empty}, where there is no ndk-build"
    assert caught.value.hint.startswith(f"unset {variable} ")
    assert caught.value.exit_status == 3


def test_an_ndk_build_that_cannot_be_run_is_none(tmp_path: Path) -> None:
    build = make_ndk(tmp_path / "ndk")
    build.chmod(0o644)
    with pytest.raises(ToolMissingError, match="there is no ndk-build"):
        find({"ANDROID_NDK_HOME": str(build.parent)})
    assert find({"PATH": str(build.parent)}) is None


@pytest.mark.parametrize(
    ("properties", "release", "revision"),
    [
        (R11, "", "11.2.2725575"),
        (R27, "", "27.0.12077973"),
        ("Pkg.Revision=26.0.10404224-beta1\n", "", "26.0.10404224-beta1"),
        ("", "r10e (64-bit)\n", "r10e (64-bit)"),
        ("Pkg.Desc = Android NDK\n", "r10e\n", "r10e"),
        ("Pkg.Desc = Android NDK\n", "", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_revisions(tmp_path: Path, properties: str, release: str, revision: str) -> None:
    build = make_ndk(tmp_path / "ndk", properties=properties)
    if release:
        (build.parent / "RELEASE.TXT").write_text(release)
    assert find({"ANDROID_NDK_HOME": str(build.parent)}) == Ndk(build, revision)


def test_the_command_line() -> None:
    assert argv(Ndk(Path("/ndk/ndk-build"), "27.0.12077973")) == [
        "/ndk/ndk-build",
        "NDK_PROJECT_PATH=/project",
        "APP_BUILD_SCRIPT=/project/jni/Android.mk",
        "NDK_APPLICATION_MK=/project/jni/Application.mk",
        "APP_ABI=armeabi-v7a",
        "NDK_OUT=/out/obj",
        "NDK_LIBS_OUT=/out/libs",
        "MM_LIMITS_INCLUDE=/include",
        "V=1",
        "-j3",
    ]


@pytest.mark.parametrize("revision", ["r10e", "11.2.2725575", "unknown"])
def test_every_revision_gets_the_same_words(revision: str) -> None:
    build = Path("/ndk/ndk-build")
    assert argv(Ndk(build, revision)) == argv(Ndk(build, "27.0.12077973"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_platform_and_abi_are_ones_that_r11_and_r27_have(name: str) -> None:
    text = (NDK_TESTS / name / "jni" / "Application.mk").read_text()
    settings = dict(re.findall(r"^(APP_\w+) := (\S+)$", text, re.MULTILINE))
    assert settings.keys() == {"APP_ABI", "APP_PLATFORM"}
    assert settings["APP_ABI"] == GOLDFISH_3_4.ndk_abi
    level = int(settings["APP_PLATFORM"].removeprefix("android-"))
    assert FIRST_PLATFORM <= level <= LAST_PLATFORM


def test_only_goldfish_is_for_an_ndk() -> None:
    assert GOLDFISH_3_4.ndk_abi == "armeabi-v7a"
    assert LINUX_6_1.ndk_abi is None
