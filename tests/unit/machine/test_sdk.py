# SPDX-License-Identifier: MIT
"""Finding the SDK, its emulator's version and its virtual devices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_sdk import make_avd, make_sdk

from harness.core.errors import InfrastructureError, ToolMissingError, UsageError
from harness.machine import sdk
from harness.machine.sdk import Avd, Sdk, avd_folders, choose_avd, data_image, find, list_avds
from harness.targets.model import SdkMachine

MACHINE = SdkMachine(cpu="cortex-a8", abi="armeabi-v7a", memory_mib=1024, newest_api=23)


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
    own, image = tmp_path / "avds" / "old.avd", "system-images/android-22/default/armeabi-v7a"
    old = Avd("old", "armeabi-v7a", 22, (own, Path(image)))
    assert [(avd.name, avd.abi, avd.api) for avd in list_avds()] == [
        ("new", "x86_64", 34),
        ("old", "armeabi-v7a", 22),
    ]
    assert list_avds()[1] == old
    # Where the folder was moved, the one beside the description is taken.
    (tmp_path / "avds" / "old.ini").write_text("path=/nowhere/old.avd\n")
    assert old in list_avds()
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
    with pytest.raises(InfrastructureError, match=r"\(pc is for x86, not armeabi-v7a\)"):
        choose_avd([wrong], MACHINE, None)
    with pytest.raises(InfrastructureError, match="there are none") as missing:
        choose_avd([], MACHINE, None)
    assert missing.value.hint == sdk.MAKE_AVD


def test_an_android_that_is_too_new_for_the_kernel() -> None:
    new, last = Avd("new", "armeabi-v7a", 24), Avd("last", "armeabi-v7a", 23)
    why = "new is API 24, and this kernel boots none above 23"
    with pytest.raises(UsageError, match=f"the AVD {why}") as error:
        choose_avd([new, last], MACHINE, "new")
    assert error.value.hint == sdk.MAKE_AVD
    with pytest.raises(InfrastructureError, match=why):
        choose_avd([new], MACHINE, None)
    assert choose_avd([new, last], MACHINE, None) == last
    silent = Avd("silent", "armeabi-v7a", None)
    assert choose_avd([silent], MACHINE, None) == silent


def test_where_avds_are_looked_for() -> None:
    names = ("ANDROID_SDK_HOME", "ANDROID_USER_HOME", "ANDROID_EMULATOR_HOME", "ANDROID_AVD_HOME")
    assert avd_folders({name: f"/{name}" for name in names} | {"HOME": "/h"}) == [
        Path("/ANDROID_AVD_HOME"),
        Path("/ANDROID_EMULATOR_HOME/avd"),
        Path("/ANDROID_USER_HOME/avd"),
        Path("/ANDROID_SDK_HOME/.android/avd"),
        Path("/h/.android/avd"),
    ]
    assert avd_folders({"HOME": "/h"}) == [Path("/h/.android/avd")]


def test_the_image_of_data_is_the_avds_own_or_its_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "gfoom")
    (avd,) = list_avds()
    of_system = tmp_path / "sdk/system-images/android-22/default/armeabi-v7a/userdata.img"
    assert data_image(find(), avd) == of_system
    own = tmp_path / "avds/gfoom.avd/userdata.img"
    own.touch()
    assert data_image(find(), avd) == own
    own.unlink()
    of_system.unlink()
    with pytest.raises(InfrastructureError, match=r"gfoom has no userdata\.img") as error:
        data_image(find(), avd)
    assert str(of_system) in error.value.tail


@pytest.mark.parametrize(
    ("version", "engines", "classic", "is_32_bit"),
    [
        ((24, 4, 1), False, True, True),
        ((26, 1, 2), True, True, False),
        ((28, 0, 25, 0), True, True, False),
        ((28, 0, 26), True, False, False),
        ((), False, True, False),
    ],
)
def test_what_a_version_has(
    version: tuple[int, ...], engines: bool, classic: bool, is_32_bit: bool
) -> None:
    found = Sdk(Path("/e"), version, None)
    assert (found.has_engines, found.has_classic_engine, found.is_32_bit) == (
        engines,
        classic,
        is_32_bit,
    )
