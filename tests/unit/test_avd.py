# SPDX-License-Identifier: MIT
"""The emulator's command line, and emulators that do not do what they should."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from fake_sdk import make_avd, make_sdk

from harness import avd
from harness.avd import emulator_argv, explain, free_port_pair
from harness.cache import Cache
from harness.errors import BootError, HarnessError, InfrastructureError
from harness.progress import PlainConsole, Reporter
from harness.sdk import Avd, Sdk
from harness.session import BootLimits, open_session
from harness.targets import SdkMachine, get_target
from harness.workspace import Workspace

MACHINE = SdkMachine(cpu="cortex-a8", abi="armeabi-v7a", memory_mib=1024)
DEVICE = Avd("gfoom", "armeabi-v7a", 22)
LIMITS = BootLimits(boot=3.0, silence=1.0, adb=1.0, android=1.0)


def argv(*version: int) -> list[str]:
    sdk = Sdk(Path("/sdk/tools/emulator"), version, Path("/sdk"))
    return emulator_argv(sdk, DEVICE, MACHINE, Path("/k/zImage"), 5554)


def test_the_command_line_of_r24() -> None:
    assert argv(24, 4, 1) == [
        *("/sdk/tools/emulator", "-avd", "gfoom", "-kernel", "/k/zImage", "-show-kernel"),
        *("-no-window", "-noaudio", "-no-boot-anim", "-no-snapstorage", "-memory", "1024"),
        *("-ports", "5554,5555", "-selinux", "permissive"),
        *("-qemu", "-cpu", "cortex-a8"),
    ]


def test_the_command_line_of_26() -> None:
    words = argv(26, 1, 2)
    assert words[words.index("-engine") + 1] == "classic"
    assert "-no-audio" in words
    assert "-no-snapshot" in words
    assert words[-3:] == ["-qemu", "-cpu", "cortex-a8"]


def test_a_later_one_has_no_classic_engine_and_keeps_the_avd_as_it_is() -> None:
    words = argv(30, 0, 0)
    assert "-engine" not in words
    assert "-read-only" in words


def test_an_unknown_version_gets_what_all_know() -> None:
    assert "-engine" not in argv()
    assert "-noaudio" in argv()


def test_the_ports_are_a_free_pair() -> None:
    port = free_port_pair()
    assert port % 2 == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 1))
        taken.listen()
        assert free_port_pair() > port


def test_no_free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avd, "_is_free", lambda _port: False)
    with pytest.raises(InfrastructureError, match="no two ports are free"):
        free_port_pair()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('ERROR: This AVD is missing a kernel file! "kernel-ranchu"', "its new board"),
        ("emulator: ERROR: New emulator backend requires minimum kernel version 3.10+", "3.10"),
        ("unknown option: -engine", "no classic engine"),
        ("emulator: ERROR: Unknown AVD name [x], use -list-avds", "does not know this AVD"),
        ("PANIC: Cannot find AVD system path. Please define ANDROID_SDK_ROOT", "system image"),
        ("error while loading shared libraries: libGL.so.1", "32-bit"),
    ],
)
def test_refusals_are_explained(said: str, meant: str) -> None:
    known = explain(said)
    assert known is not None
    assert meant in known.message


def test_a_boot_is_no_refusal() -> None:
    assert explain("Linux version 3.4.67-gfoom\nemulator: device fd:5\n") is None


# --- emulators that do not come up -----------------------------------------------


def open_it(folder: Path) -> None:
    ws = Workspace(Cache(folder / "cache"), Reporter(PlainConsole()))
    image = folder / "zImage"
    image.touch()
    with open_session(
        ws,
        image,
        image,
        get_target("goldfish-3.4", "sdk"),
        folder=folder / "results",
        expect_release="3.4.67",
        limits=LIMITS,
    ):
        pass


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        ("echo broken; exit 7", "ended with status 7", ""),
        (
            "echo 'emulator: ERROR: This AVD is missing a kernel file! \"kernel-ranchu\"'; exit 1",
            "wants a kernel for its new board",
            "r24.4.1",
        ),
        (
            "echo 'New emulator backend requires minimum kernel version 3.10+'; exit 1",
            "takes no kernel older than 3.10",
            "r24.4.1",
        ),
        ("exec sleep 60", "has been silent for 1 s", ""),
        ("kill -9 $$", "was killed by SIGKILL", ""),
        (
            "echo '[    1.000000] Kernel panic - not syncing: no init'; exec sleep 60",
            "Kernel panic - not syncing: no init",
            "",
        ),
        # It boots, and nobody ever answers adb.
        (
            "echo '[    0.000000] Linux version 3.4.67'; exec sleep 60",
            "adb did not reach the device within 1 s",
            "",
        ),
    ],
)
def test_each_failure_has_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str, hint: str
) -> None:
    make_sdk(tmp_path, monkeypatch, script)
    make_avd(tmp_path, "gfoom")
    with pytest.raises(HarnessError) as error:
        open_it(tmp_path)
    assert error.value.exit_status == 3
    assert message in error.value.message
    assert hint in error.value.hint


def test_the_emulator_tells_our_adb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, words = tmp_path / "port", tmp_path / "words"
    script = f'echo "$ANDROID_ADB_SERVER_PORT" >{port}; echo "$*" >{words}; exit 1'
    make_sdk(tmp_path, monkeypatch, script)
    make_avd(tmp_path, "gfoom")
    with pytest.raises(BootError):
        open_it(tmp_path)
    assert port.read_text().strip() not in ("", "5037")
    assert f"-avd gfoom -kernel {tmp_path}/zImage" in words.read_text()
