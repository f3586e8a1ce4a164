# SPDX-License-Identifier: MIT
"""Finding the NDK, the revision that it states, and the command that is given to it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from fake_ndk import R11, R27, make_ndk

from harness.build.ndk import Ndk, find, ndk_build_argv
from harness.build.programs import PROGRAMS
from harness.core.errors import InfrastructureError, ToolMissingError
from harness.core.paths import NDK_TESTS
from harness.targets.goldfish_3_4 import GOLDFISH_3_4

# From the first level with what is used here to the last that r11 has.
FIRST_PLATFORM, LAST_PLATFORM = 21, 23


def ndk_with(newest_api: int | None) -> Ndk:
    return Ndk(Path("/ndk/ndk-build"), "27.0.12077973", newest_api, "PATH")


def argv(found: Ndk, project: Path = Path("/project")) -> list[str]:
    return ndk_build_argv(
        found,
        project=project,
        abi="armeabi-v7a",
        folder=Path("/out"),
        include=Path("/include"),
        jobs=3,
    )


@pytest.mark.parametrize("variables", [{}, {"ANDROID_NDK_HOME": "", "ANDROID_NDK_ROOT": ""}])
def test_without_an_ndk_there_is_none(tmp_path: Path, variables: dict[str, str]) -> None:
    assert find({"PATH": str(tmp_path), **variables}) is None


@pytest.mark.parametrize(
    ("env", "folder", "named_by"),
    [
        ({"ANDROID_NDK_HOME": "{}/ndk", "PATH": "{}/other"}, "ndk", "ANDROID_NDK_HOME"),
        ({"ANDROID_NDK_ROOT": "{}/ndk", "PATH": "{}/other"}, "ndk", "ANDROID_NDK_ROOT"),
        (
            {"ANDROID_NDK_HOME": "{}/ndk", "ANDROID_NDK_ROOT": "{}/other"},
            "ndk",
            "ANDROID_NDK_HOME",
        ),
        ({"PATH": "/nowhere:{}/ndk"}, "ndk", "PATH"),
        # What the NDK states is read behind the link.
        ({"PATH": "{}/bin"}, "bin", "PATH"),
    ],
    ids=["HOME before PATH", "ROOT before PATH", "HOME before ROOT", "PATH", "a link on PATH"],
)
def test_where_it_is_found(
    tmp_path: Path, env: dict[str, str], folder: str, named_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ndk(tmp_path / "other", properties=R11)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ndk-build").symlink_to(make_ndk(tmp_path / "ndk"))
    variables = {name: value.format(tmp_path) for name, value in env.items()}
    expected = Ndk(tmp_path / folder / "ndk-build", "27.0.12077973", 35, named_by)
    assert find(variables) == expected
    # By default in the environment.
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find() == expected


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
    found = find({"ANDROID_NDK_HOME": str(build.parent)})
    assert found is not None
    assert (found.build, found.revision) == (build, revision)


def test_an_old_ndk_does_not_say_its_newest_api_level(tmp_path: Path) -> None:
    build = make_ndk(tmp_path / "ndk", properties=R11, newest_api=None)
    found = find({"ANDROID_NDK_HOME": str(build.parent)})
    assert found == Ndk(build, "11.2.2725575", None, "ANDROID_NDK_HOME")


@pytest.mark.parametrize("text", ["", "[]", '{"min": 21}', '{"max": "x"}', '{"max": null}'])
def test_an_ndk_whose_api_levels_are_damaged_is_named(tmp_path: Path, text: str) -> None:
    build = make_ndk(tmp_path / "ndk")
    platforms = build.parent / "meta" / "platforms.json"
    platforms.write_text(text)
    with pytest.raises(InfrastructureError, match=f"{platforms} does not say"):
        find({"ANDROID_NDK_HOME": str(build.parent)})


def test_the_command_line() -> None:
    program, *words = argv(ndk_with(35))
    assert program == "/ndk/ndk-build"
    assert "-j3" in words
    variables = dict(word.split("=") for word in words if "=" in word)
    assert variables["NDK_PROJECT_PATH"] == "/project"
    assert variables["APP_BUILD_SCRIPT"] == "/project/jni/Android.mk"
    assert variables["NDK_APPLICATION_MK"] == "/project/jni/Application.mk"
    assert (variables["APP_ABI"], variables["MM_LIMITS_INCLUDE"]) == ("armeabi-v7a", "/include")
    # Nothing is written into the project.
    assert {variables["NDK_OUT"], variables["NDK_LIBS_OUT"]} == {"/out/obj", "/out/libs"}


@pytest.mark.parametrize(("newest_api", "platform"), [(None, "android-21"), (35, "android-35")])
def test_the_command_line_counts_before_application_mk(
    tmp_path: Path, newest_api: int | None, platform: str
) -> None:
    # Make is what ndk-build is; this includes Application.mk as that does.
    project = NDK_TESTS / PROGRAMS[0]
    words = argv(ndk_with(newest_api), project)[1:]
    makefile = tmp_path / "Makefile"
    makefile.write_text("include $(NDK_APPLICATION_MK)\nall:\n\t@echo $(APP_PLATFORM)\n")
    done = subprocess.run(
        ["make", "-s", "-f", makefile, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{platform}\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_platform_and_abi_are_ones_that_ndks_have_which_state_none(name: str) -> None:
    text = (NDK_TESTS / name / "jni" / "Application.mk").read_text()
    settings = dict(re.findall(r"^(APP_\w+) := (\S+)$", text, re.MULTILINE))
    assert settings.keys() == {"APP_ABI", "APP_PLATFORM"}
    assert settings["APP_ABI"] == GOLDFISH_3_4.ndk_abi
    level = int(settings["APP_PLATFORM"].removeprefix("android-"))
    assert FIRST_PLATFORM <= level <= LAST_PLATFORM
