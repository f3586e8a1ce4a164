# SPDX-License-Identifier: MIT
"""The emulator's command line, and emulators that do not do what they should."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from fake_sdk import make_avd, make_sdk
from stand_ins import workspace

from harness.core.errors import BootError, DeviceError, HarnessError, InfrastructureError
from harness.machine import avd
from harness.machine.avd import emulator_argv, explained, free_port_pair
from harness.machine.sdk import Avd, Sdk
from harness.machine.session import Boot, open_session
from harness.targets.model import BootLimits, SdkMachine
from harness.targets.table import get_target

MACHINE = SdkMachine(cpu="cortex-a8", abi="armeabi-v7a", memory_mib=1024, newest_api=23)
DEVICE = Avd("gfoom", "armeabi-v7a", 22)
# On a busy host it takes long to the first word.
LIMITS = BootLimits(boot=300.0, silence=300.0, adb=1.0, android=0.3)


def argv(*version: int) -> list[str]:
    sdk = Sdk(Path("/sdk/tools/emulator"), version, Path("/sdk"))
    return emulator_argv(sdk, DEVICE, MACHINE, Path("/k/zImage"), 5554, Path("/tmp/x/userdata.img"))


def test_the_command_line_of_r24() -> None:
    words = argv(24, 4, 1)
    assert words[:3] == ["/sdk/tools/emulator", "-avd", "gfoom"]
    options = dict(pairwise(words))
    assert options["-kernel"] == "/k/zImage"
    assert options["-data"] == "/tmp/x/userdata.img"
    assert (options["-memory"], options["-ports"]) == ("1024", "5554,5555")
    assert options["-selinux"] == "permissive"
    assert {"-show-kernel", "-no-window", "-noaudio", "-no-snapstorage"} <= set(words)
    # What is behind -qemu is QEMU's.
    assert words[-3:] == ["-qemu", "-cpu", "cortex-a8"]


@pytest.mark.parametrize(
    ("version", "classic"),
    [((26, 1, 2), True), ((28, 0, 25), True), ((28, 0, 25, 0), True), ((28, 0, 26), False)],
)
def test_the_last_one_with_a_classic_engine(version: tuple[int, ...], classic: bool) -> None:
    words = argv(*version)
    assert dict(pairwise(words)).get("-engine") == ("classic" if classic else None)
    assert {"-no-audio", "-no-snapshot"} <= set(words)
    # From 25 on the launcher takes it for an order to delete what is in the AVD.
    assert "-wipe-data" not in words
    assert words[-3:] == ["-qemu", "-cpu", "cortex-a8"]


def test_an_unknown_version_gets_what_all_know() -> None:
    assert "-engine" not in argv()
    assert "-noaudio" in argv()


def test_the_ports_are_a_free_pair() -> None:
    port = free_port_pair()
    assert port % 2 == 0
    with socket.create_server(("127.0.0.1", port + 1)):
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
        ("PANIC: Broken AVD system path. Check your ANDROID_SDK_ROOT value", "system image"),
        ("error while loading shared libraries: libGL.so.1: cannot open", "of the desktop's"),
        ("error while loading shared libraries: libpulse.so.0: cannot open", "of the desktop's"),
        ("error while loading shared libraries: libX11.so.6: cannot open", "of the desktop's"),
        ("error while loading shared libraries: libstdc++.so.6: cannot open", "32-bit"),
        ("env: \u2018/sdk/tools/emulator\u2019: No such file or directory", "32-bit"),
        ("env: »/sdk/tools/emulator«: Datei oder Verzeichnis nicht gefunden", "32-bit"),
        ("ERROR: 32-bit Linux Android emulator binaries are DEPRECATED, to use", "asks `file`"),
        (
            "emulator: ERROR: GPU emulation is disabled.\nOnly screen size of 768 X 1280 or",
            "screen is too large",
        ),
        ("emulator: ERROR: There's another emulator instance running with", "runs already"),
    ],
)
def test_refusals_are_explained(said: str, meant: str) -> None:
    told = explained(BootError("the machine ended with status 1"), said)
    assert meant in told.message
    assert told.hint


REFUSED = "emulator: ERROR: There's another emulator instance running with the current AVD"


def test_a_refusal_keeps_what_was_said() -> None:
    cause = BootError("the machine ended with status 1", tail="last words", log=Path("log"))
    told = explained(cause, f"emulator: WARNING: x\n{REFUSED}\n")
    assert told.message == "this AVD runs already"
    assert told.tail == "the machine ended with status 1\nlast words"
    assert told.log == Path("log")


@pytest.mark.parametrize("cause", [BootError("kernel panic: x"), DeviceError("adb is lost")])
@pytest.mark.parametrize(
    "said",
    [
        f"[    0.000000] Linux version 3.4.67\n{REFUSED}\n",
        f"{REFUSED}\n[    0.000000] Booting Linux on physical CPU 0\n",
        "emulator: WARNING: the Classic engine is deprecated\n",
        "init: service adbd already running\n",
        "",
    ],
    ids=["a process says it", "the kernel came all the same", "a warning", "a boot", "nothing"],
)
def test_what_is_no_refusal_stays_as_it_is(cause: HarnessError, said: str) -> None:
    assert explained(cause, said) is cause


# --- emulators that do not come up -----------------------------------------------


Emulator = Callable[[str], Path]


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Makes an SDK whose emulator is a script, with an AVD."""
    make_avd(tmp_path, "gfoom")
    return partial(make_sdk, tmp_path, monkeypatch)


def open_it(folder: Path, limits: BootLimits = LIMITS) -> None:
    image = folder / "zImage"
    image.touch()
    boot = Boot(get_target("goldfish-3.4", "sdk"), image, image, "3.4.67", limits=limits)
    with open_session(workspace(folder / "cache"), boot, folder / "results"):
        pass


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        ("echo broken; exit 7", "ended with status 7", ""),
        (
            "echo 'emulator: ERROR: This AVD is missing a kernel file! \"kernel-ranchu\"'; exit 1",
            "wants a kernel for its new board",
            "goldfish boots on SDK tools r24.4.1, or an emulator of version 26.1.2 to 28.0.25",
        ),
        ("exec sleep 600", "has been silent for 0.5 s", ""),
        ("kill -9 $$", "was killed by SIGKILL", ""),
        # It boots, and nobody ever answers adb.
        (
            "echo '[    0.000000] Linux version 3.4.67'; exec sleep 600",
            "adb did not reach the device within 0.3 s",
            "",
        ),
    ],
)
def test_each_failure_has_its_message(
    tmp_path: Path, emulator: Emulator, script: str, message: str, hint: str
) -> None:
    emulator(script)
    silent = "silent" in message
    with pytest.raises(HarnessError) as error:
        open_it(tmp_path, replace(LIMITS, silence=0.5) if silent else LIMITS)
    assert error.value.exit_status == 3
    assert message in error.value.message
    assert hint in error.value.hint


def test_what_the_emulator_is_told(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells our adb server of itself, and looks for images in the SDK that was chosen."""
    seen = ("ANDROID_ADB_SERVER_PORT", "ANDROID_HOME", "ANDROID_SDK_ROOT", "SHELL", "*")
    emulator("".join(f'echo "${name}"; ' for name in seen) + "exit 1")
    monkeypatch.setenv("ANDROID_SDK_ROOT", "/another")
    monkeypatch.delenv("SHELL", raising=False)
    with pytest.raises(BootError) as caught:
        open_it(tmp_path)
    port, home, root, shell, words = caught.value.tail.splitlines()
    assert port not in ("", "5037")
    assert (home, root, shell) == (f"{tmp_path}/sdk", f"{tmp_path}/sdk", "/bin/sh")
    assert f"-avd gfoom -kernel {tmp_path}/zImage" in words


def test_data_is_a_copy_that_goes_with_the_run(tmp_path: Path, emulator: Emulator) -> None:
    # It changes what it was given.
    script = (
        f'until [ "$1" = -data ]; do shift; done; echo "$2" >{tmp_path}/name\n'
        f'cp "$2" {tmp_path}/seen; echo changed >"$2"; exit 1'
    )
    emulator(script)
    (image,) = (tmp_path / "sdk").rglob("userdata.img")
    before = image.read_bytes()
    image.chmod(0o444)
    with pytest.raises(BootError):
        open_it(tmp_path)
    assert (tmp_path / "seen").read_bytes() == image.read_bytes() == before
    assert not Path((tmp_path / "name").read_text().strip()).exists()


def test_it_may_give_back_what_it_has_locked(tmp_path: Path, emulator: Emulator) -> None:
    panic = "[    1.000000] Kernel panic - not syncing: x"
    emulator(f"trap 'echo gone >{tmp_path}/end; exit' TERM\necho '{panic}'; sleep 600")
    with pytest.raises(BootError, match="Kernel panic"):
        open_it(tmp_path)
    assert (tmp_path / "end").read_text() == "gone\n"


# Opens a session as a task does, on the emulator of the environment, which has to be killed.
RUNNER = """
import sys
from pathlib import Path
from test_avd import open_it
from harness.jobs.cli import guarded
from harness.machine import console
from harness.targets.model import BootLimits
console._GRACE_SECONDS = 0.1
sys.exit(guarded(lambda: open_it(Path(sys.argv[1]), BootLimits())))
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
@pytest.mark.parametrize(
    "said", ["emulator: starting", "[    0.000000] Linux version 3.4.67"], ids=["start", "boot"]
)
def test_a_run_that_is_ended_while_it_boots_leaves_nothing(
    tmp_path: Path, emulator: Emulator, number: signal.Signals, status: int, said: str
) -> None:
    # Of two processes, as the emulator's crash service makes it.
    script = f"sleep 600 &\necho '{said}'; echo >{tmp_path}/up; trap '' TERM INT\nwait; sleep 600"
    emulator(script)
    scratch = tmp_path / "t"
    scratch.mkdir()
    here = [*sys.path, str(Path(__file__).parent)]
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(here), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell has its background jobs ignore SIGINT, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "up").exists():
            assert runner.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(runner.pid).children(recursive=True)
        assert len(children) >= 2
        runner.send_signal(number)
        said_last, _ = runner.communicate(timeout=120)
    finally:
        runner.kill()
    assert runner.returncode == status, said_last
    assert psutil.wait_procs(children, timeout=120)[1] == []
    assert list(scratch.iterdir()) == []
