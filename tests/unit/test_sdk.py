# SPDX-License-Identifier: MIT
"""Finding the SDK, its emulator's version and its virtual devices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_sdk import make_avd, make_sdk

from harness import sdk
from harness.errors import InfrastructureError, ToolMissingError, UsageError
from harness.sdk import Avd, choose_avd, find, list_avds
from harness.targets import SdkMachine

MACHINE = SdkMachine(cpu="cortex-a8", abi="armeabi-v7a", memory_mib=1024)


def test_without_an_sdk_it_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="no Android SDK: neither ANDROID_HOME nor") as error:
        find({"PATH": str(tmp_path)})
    assert error.value.exit_status == 3
    assert len(str(error.value).splitlines()) == 2


def test_a_folder_without_an_emulator_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match=f"ANDROID_SDK_ROOT is {tmp_path}, where there is"):
        find({"ANDROID_SDK_ROOT": str(tmp_path)})


@pytest.mark.parametrize("tools", ["emulator", "tools"])
def test_the_emulator_of_new_and_old_sdks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: str
) -> None:
    program = make_sdk(tmp_path, monkeypatch, tools=tools, revision="24.4.1")
    found = find()
    assert (found.emulator, found.version) == (program, (24, 4, 1))
    assert found.version_text == "24.4.1"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Android emulator version 24.4.1.0 (build_id 2422559)", (24, 4, 1, 0)),
        ("Android emulator version 26.1.2.0 (build_id 4077558) (CL:x)", (26, 1, 2, 0)),
        ("no word of it", ()),
    ],
)
def test_the_version_that_it_says_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: tuple[int, ...]
) -> None:
    make_sdk(tmp_path, monkeypatch, f"echo '{said}'", revision="")
    assert find().version == version


def test_an_emulator_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_sdk(tmp_path, monkeypatch)
    found = find({"PATH": str(program.parent)})
    assert (found.emulator, found.root) == (program, None)


def test_avds_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "old")
    make_avd(tmp_path, "new", "x86_64", 34)
    (tmp_path / "avds" / "gone.ini").write_text("path=/nowhere\n")
    assert list_avds() == [Avd("new", "x86_64", 34), Avd("old", "armeabi-v7a", 22)]
    # Where the folder was moved, the one beside the description is taken.
    (tmp_path / "avds" / "old.ini").write_text("path=/nowhere/old.avd\n")
    assert Avd("old", "armeabi-v7a", 22) in list_avds()
    shutil.rmtree(tmp_path / "avds")
    assert list_avds() == []


def test_which_avd_is_taken() -> None:
    one, other = Avd("one", "armeabi-v7a", 22), Avd("other", "armeabi-v7a", 19)
    wrong = Avd("pc", "x86", 22)
    assert choose_avd([wrong, one], MACHINE, None) == one
    assert choose_avd([one, other], MACHINE, "other") == other
    with pytest.raises(UsageError, match="several AVDs") as error:
        choose_avd([one, other], MACHINE, None)
    assert "one, other" in error.value.hint
    with pytest.raises(UsageError, match="no AVD is called 'x'"):
        choose_avd([one], MACHINE, "x")
    with pytest.raises(UsageError, match="pc is for x86, not armeabi-v7a"):
        choose_avd([wrong], MACHINE, "pc")
    with pytest.raises(InfrastructureError, match=r"no AVD is for armeabi-v7a \(there are: pc\)"):
        choose_avd([wrong], MACHINE, None)


def test_the_hints_name_what_still_boots_it() -> None:
    assert "r24.4.1" in sdk.GOOD_RELEASES
    assert "28.0.25" in sdk.GOOD_RELEASES
