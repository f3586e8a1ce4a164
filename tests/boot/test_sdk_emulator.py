# SPDX-License-Identifier: MIT
"""A run on an Android Emulator, for which our QEMU stands in, behind the emulator's options.

Nothing here comes from the SDK. The tests cover our part of such a run, from the emulator's
start to the verdict, with a real kernel and a real adbd. Besides the programs that are pushed,
the guest has only programs that an Android 5 has.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from android_5 import TOOLBOX
from conftest import Emulate

from harness.build.rootfs import Rootfs
from harness.core.paths import GUEST
from harness.machine import session
from harness.machine.adb import Device
from harness.machine.qemu import kernel_command_line
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import DEVICE_FOLDER, Board, QemuMachine, SdkMachine, Target

# Three kinds of run: a process is killed, none is, and all are protected.
SCENARIOS = ("report", "below-limit", "all-protected")
# The folder in the guest that has an Android 5's programs, and nothing else.
ANDROID_5 = "system/android-5"

EMULATOR = """#!{python}
import os, sys
words = sys.argv[1:]
value = lambda option: words[words.index(option) + 1]
port = value("-ports").split(",")[1]
assert value("-avd") == "gfoom" and words[-3:] == ["-qemu", "-cpu", "cortex-a8"]
assert open(value("-data")).read() == "fresh"
os.execvp("{binary}", ["{binary}", "-nodefaults", "-machine", "{machine}", "-cpu", "{cpu}",
    "-smp", "{smp}", "-m", value("-memory"), "-display", "none", "-serial", "stdio",
    "-netdev", "user,id=net0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:" + port + "-:5555",
    *{devices!r}, "-no-reboot", "-kernel", value("-kernel"), "-initrd", "{initramfs}",
    "-append", "{append}"])
"""


def android_5(folder: Path) -> bytes:
    """Return an archive to lay over our guest: a folder with an Android 5's programs.

    These are links to our guest's programs. It lacks getprop; the one here says that Android
    has booted.
    """
    programs = folder / ANDROID_5
    programs.mkdir(parents=True)
    (programs / "sh").symlink_to("/system/bin/mksh")
    applets = [line for path in GUEST.glob("*.applets") for line in path.read_text().splitlines()]
    for name in {*applets} & {*TOOLBOX}:
        (programs / name).symlink_to(f"/system/bin/{name}")
    (programs / "getprop").write_text("#!/system/bin/sh\necho 1\n")
    (programs / "getprop").chmod(0o755)
    command = "find . | cpio -o -H newc -R 0:0 --quiet"
    archive = subprocess.run(["sh", "-c", command], cwd=folder, stdout=subprocess.PIPE, check=True)
    return gzip.compress(archive.stdout)


@pytest.fixture
def sdk_target(tmp_path: Path, rootfs: Rootfs, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Return linux-6.1 as a target for an SDK; make that SDK and the programs of its guest."""
    qemu = LINUX_6_1.machine
    assert isinstance(qemu, QemuMachine)
    initramfs = tmp_path / "initramfs"
    initramfs.write_bytes(rootfs.initramfs.read_bytes() + android_5(tmp_path / "android"))
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
            initramfs=initramfs,
            append=kernel_command_line(qemu),
        )
    )
    program.chmod(0o755)
    (program.parent / "source.properties").write_text("Pkg.Revision=26.1.2\n")
    own = tmp_path / "avds" / "gfoom.avd"
    own.mkdir(parents=True)
    (own / "config.ini").write_text(
        "abi.type=armeabi-v7a\nimage.sysdir.1=system-images/android-22/\n"
    )
    (own / "userdata.img").write_text("fresh")
    (tmp_path / "avds" / "gfoom.ini").write_text("target=android-22\n")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    monkeypatch.setenv("ANDROID_AVD_HOME", str(tmp_path / "avds"))
    monkeypatch.setattr(session, "ANDROID_PRELUDE", f"export PATH={DEVICE_FOLDER}:/{ANDROID_5}; ")
    machine = SdkMachine(cpu="cortex-a8", abi="armeabi-v7a", memory_mib=qemu.memory_mib)
    board = Board(machine, LINUX_6_1.boards["qemu"].base_config)
    return replace(LINUX_6_1, boards={"sdk": board}, emulator="sdk")


@pytest.mark.parametrize("features", [{"shell_v2"}, set()], ids=["shell v2", "the first shell"])
def test_scenarios_pass_over_an_emulator(
    emulate: Emulate,
    sdk_target: Target,
    tmp_path: Path,
    features: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Device, "_features", lambda _: features)
    status = emulate(sdk_target, tmp_path / "results", scenarios=SCENARIOS)
    folder = tmp_path / "results" / "latest"
    assert status == 0, (folder / "console.log").read_text()[-2000:]
    assert "--emulator sdk" in (folder / "command.txt").read_text()
    records = json.loads((folder / "kills.json").read_text())
    assert records
