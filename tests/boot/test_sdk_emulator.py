# SPDX-License-Identifier: MIT
"""The way over an Android Emulator, with a QEMU of ours behind the emulator's options.

Nothing here is the SDK's: what is tried is all that is ours on that way, from
the emulator's start to the verdict, with a real kernel and a real adbd.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import emulator_test, rootfs
from harness.adb import Device
from harness.qemu import kernel_command_line
from harness.rootfs import Rootfs
from harness.targets import LINUX_6_1, Board, QemuMachine, SdkMachine, Target
from harness.workspace import Workspace

# Three kinds of run: nobody dies, one does, and all are shielded.
SCENARIOS = ("report", "below-limit", "all-protected")

EMULATOR = """#!{python}
import os, sys
words = sys.argv[1:]
value = lambda option: words[words.index(option) + 1]
port = value("-ports").split(",")[1]
assert value("-avd") == "gfoom" and words[-3:] == ["-qemu", "-cpu", "cortex-a8"]
os.execvp("{binary}", ["{binary}", "-nodefaults", "-machine", "{machine}", "-cpu", "{cpu}",
    "-smp", "{smp}", "-m", value("-memory"), "-display", "none", "-serial", "stdio",
    "-netdev", "user,id=net0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:" + port + "-:5555",
    *{devices!r}, "-no-reboot", "-kernel", value("-kernel"), "-initrd", "{initramfs}",
    "-append", "{append}"])
"""


@pytest.fixture
def sdk_target(tmp_path: Path, rootfs: Rootfs, monkeypatch: pytest.MonkeyPatch) -> Target:
    """linux-6.1 as a target for an SDK, and that SDK."""
    qemu = LINUX_6_1.machine
    assert isinstance(qemu, QemuMachine)
    program = tmp_path / "sdk" / "emulator" / "emulator"
    program.parent.mkdir(parents=True)
    program.write_text(
        EMULATOR.format(
            python=sys.executable,
            binary=qemu.binary,
            machine=qemu.machine,
            cpu=qemu.cpu,
            smp=qemu.smp,
            devices=list(qemu.devices),
            initramfs=rootfs.initramfs,
            append=kernel_command_line(qemu),
        )
    )
    program.chmod(0o755)
    (program.parent / "source.properties").write_text("Pkg.Revision=26.1.2\n")
    config = tmp_path / "avds" / "gfoom.avd" / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text("abi.type=armeabi-v7a\nimage.sysdir.1=system-images/android-22/\n")
    (tmp_path / "avds" / "gfoom.ini").write_text("target=android-22\n")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    monkeypatch.setenv("ANDROID_AVD_HOME", str(tmp_path / "avds"))
    machine = SdkMachine(cpu="cortex-a8", abi="armeabi-v7a", memory_mib=qemu.memory_mib)
    board = Board(machine, LINUX_6_1.boards["qemu"].base_config)
    return replace(LINUX_6_1, boards={"sdk": board}, emulator="sdk")


@pytest.fixture
def android(tmp_path: Path, rootfs: Rootfs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our guest has no getprop, which an Android has: one that says that it has booted."""
    getprop = tmp_path / "getprop"
    getprop.write_text("#!/system/bin/sh\necho 1\n")
    both = replace(rootfs, tools=(*rootfs.tools, getprop))
    build: Callable[..., Rootfs] = lambda _ws, _target: both  # noqa: E731
    monkeypatch.setattr("harness.rootfs.build", build)


@pytest.mark.usefixtures("android")
@pytest.mark.parametrize("features", [{"shell_v2"}, set()], ids=["shell v2", "the first shell"])
def test_scenarios_pass_over_an_emulator(
    workspace: Workspace,
    sdk_target: Target,
    tmp_path: Path,
    features: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rootfs.build is not None
    monkeypatch.setattr(Device, "_features", lambda _: features)
    status = emulator_test.run(
        workspace,
        sdk_target,
        policy="rss",
        trigger="alloc",
        scenarios=SCENARIOS,
        results=tmp_path / "results",
    )
    folder = tmp_path / "results" / "latest"
    assert status == 0, (folder / "console.log").read_text()[-2000:]
    assert "--emulator sdk" in (folder / "command.txt").read_text()
    records = json.loads((folder / "kills.json").read_text())
    assert records
