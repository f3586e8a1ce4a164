# SPDX-License-Identifier: MIT
"""Failures around a kernel: each is noticed at once and distinguished from the others.

After each of them no process and no temporary folder is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from device_work import eventually

from harness.build.kernel import KernelBuild
from harness.build.rootfs import Rootfs
from harness.core.errors import BootError, DeviceError, HarnessError
from harness.core.paths import REPO
from harness.core.ports import LOOPBACK
from harness.machine import qemu
from harness.machine.session import Boot, Session, open_session
from harness.targets.model import BootLimits, Target
from harness.ui.workspace import Workspace

# Within how many seconds a failure must be noticed, also on a busy host. A wait for something
# that never comes has the timeout LONG.
AT_ONCE = 60.0
LONG = 600.0


# Opens a session; the names of its options are those of Boot, and `name` is its folder's.
OpenOne = Callable[..., AbstractContextManager[Session]]


def answers(port: int) -> bool:
    """Return whether a server listens on `port` of the loopback interface."""
    with socket.socket() as caller:
        caller.settimeout(30.0)
        return caller.connect_ex(("127.0.0.1", port)) == 0


def our_processes() -> list[str]:
    """Return the names of the QEMU and adb processes below this one."""
    names = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith(("qemu", "adb")):
                names.append(process.name())
    return sorted(names)


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = our_processes()
    # A short path, because sockets are made in it.
    with tempfile.TemporaryDirectory(prefix="t-") as scratch:
        monkeypatch.setattr(tempfile, "tempdir", scratch)
        yield
        assert list(Path(scratch).iterdir()) == []
    assert our_processes() == before


@pytest.fixture
def boot(
    workspace: Workspace, target: Target, kernel: KernelBuild, rootfs: Rootfs, tmp_path: Path
) -> OpenOne:
    usual = Boot(target, kernel.image, rootfs.initramfs, kernel.release, limits=BootLimits())

    def open_one(name: str = "session", **changes: Any) -> AbstractContextManager[Session]:
        return open_session(workspace, replace(usual, **changes), tmp_path / name)

    return open_one


def noticed(session: Session, begun: float) -> HarnessError:
    """Return the first error; check that it came at once, and that each use raises it again."""
    assert time.monotonic() - begun < AT_ONCE
    errors = []
    for use in (session.check, lambda: session.device.shell("true")):
        with pytest.raises((BootError, DeviceError)) as caught:
            use()
        errors.append(caught.value)
    assert errors[0].message == errors[1].message
    assert errors[0].exit_status == 3
    return errors[0]


def test_qemu_is_killed_while_a_command_runs(boot: OpenOne) -> None:
    with boot() as session:
        command = session.device.start("echo runs; sleep 3600")
        command.wait_line("runs", LONG)
        begun = time.monotonic()
        os.kill(session.machine.console.pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match=r"machine \(QEMU\) was killed by SIGKILL"):
            command.wait(LONG)
        error = noticed(session, begun)
        assert "init ready" in error.log.read_text() if error.log else False


@pytest.fixture
def crash(target: Target) -> tuple[str, str]:
    """Return what the kernel says of `c` in /proc/sysrq-trigger, and a step of its call trace."""
    if "a panic by sysrq" in target.lacks:
        return r"kernel oops: .*NULL pointer dereference", "sysrq_handle_crash+"
    return r"kernel panic: .*sysrq triggered crash", "from panic+"


def test_a_panic_while_a_command_runs(boot: OpenOne, crash: tuple[str, str]) -> None:
    message, step = crash
    with boot() as session:
        command = session.device.start("sleep 3600")
        begun = time.monotonic()
        session.device.start("echo c > /proc/sysrq-trigger")
        with pytest.raises(BootError, match=message) as caught:
            command.wait_line("never", LONG)
        noticed(session, begun)
        # The call trace is shown, and is in the log.
        assert step in caught.value.tail
        assert step in session.console_log.read_text()


def test_a_panic_is_noticed_without_adb(boot: OpenOne, crash: tuple[str, str]) -> None:
    with boot() as session:
        session.device.start("sleep 0.5; echo c > /proc/sysrq-trigger")
        assert session.machine.health.pause(LONG)
        with pytest.raises(BootError, match=crash[0]):
            session.check()


def test_a_kernel_that_switches_the_machine_off(boot: OpenOne) -> None:
    with boot() as session:
        command = session.device.start("sync; echo o > /proc/sysrq-trigger; sleep 3600")
        begun = time.monotonic()
        with pytest.raises(BootError, match="ended unasked"):
            command.wait(LONG)
        noticed(session, begun)


def test_a_frozen_guest(boot: OpenOne) -> None:
    with boot() as session:
        command = session.device.start("echo runs; sleep 3600")
        command.wait_line("runs", LONG)
        assert isinstance(session.machine, qemu.Machine)
        session.machine.qmp.execute("stop")
        with pytest.raises(DeviceError, match="the guest does not answer any more"):
            command.wait(1.0)
        begun = time.monotonic()
        noticed(session, begun)


def test_the_wrong_kernel_is_named(boot: OpenOne, kernel: KernelBuild) -> None:
    with (
        pytest.raises(BootError, match=f"{kernel.release}, not 6.1.0-other"),
        boot(release="6.1.0-other"),
    ):
        pytest.fail("it was taken for the kernel that was meant")


def test_a_file_that_is_no_kernel(boot: OpenOne, tmp_path: Path) -> None:
    garbage = tmp_path / "zImage"
    garbage.write_bytes(os.urandom(1 << 20))
    begun = time.monotonic()
    with (
        pytest.raises(BootError, match="silent for 2 s") as caught,
        boot(image=garbage, limits=BootLimits(silence=2.0)),
    ):
        pytest.fail("garbage booted")
    # QEMU says something itself about vexpress-a9's sound.
    said = caught.value.tail.splitlines()
    assert all(line.startswith("audio: ") for line in said)
    assert ("nothing at all" in caught.value.message) == (not said)
    assert time.monotonic() - begun < 2.0 + AT_ONCE


def test_a_guest_without_an_init(boot: OpenOne, tmp_path: Path) -> None:
    empty = tmp_path / "initramfs"
    empty.write_bytes(b"")
    begun = time.monotonic()
    with pytest.raises(BootError, match=r"kernel panic: .*") as caught, boot(initramfs=empty):
        pytest.fail("it booted into nothing")
    assert time.monotonic() - begun < LONG
    assert "Call trace" in caught.value.tail or "VFS" in str(caught.value)


def test_adbs_server_dies(boot: OpenOne) -> None:
    with boot() as session:
        servers = [p for p in psutil.Process().children() if p.name() == "adb"]
        command = session.device.start("sleep 3600")
        begun = time.monotonic()
        # The newest server: the others belong to other sessions of this run.
        max(servers, key=lambda p: (p.create_time(), p.pid)).kill()
        with pytest.raises(DeviceError, match=r"connection to the device broke.*server has ended"):
            command.wait(LONG)
        noticed(session, begun)


def test_two_sessions_at_once(boot: OpenOne) -> None:
    with boot(name="one") as one, boot(name="two") as two:
        one.device.shell("echo 1 > /tmp/who")
        two.device.shell("echo 2 > /tmp/who")
        assert one.device.read_file("/tmp/who") == "1\n"
        assert two.device.read_file("/tmp/who") == "2\n"
        os.kill(one.machine.console.pid, signal.SIGKILL)
        assert one.machine.health.pause(AT_ONCE)
        # The other session is not affected.
        assert two.device.read_file("/tmp/who") == "2\n"
        two.check()


def test_the_users_adb_server_is_neither_used_nor_ended(
    boot: OpenOne, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answers(5037):
        users = None
    else:
        environment = {**os.environ, "HOME": str(tmp_path)}
        users = subprocess.Popen(["adb", "server", "nodaemon"], env=environment)
    try:
        eventually(lambda: answers(5037), LONG)
        # Variables that a user may have set must not lead us to that server.
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "5037")
        monkeypatch.setenv("ANDROID_SERIAL", "emulator-5554")
        with boot() as session:
            session.device.shell("true")
            adb = ["adb", "-P", "5037", "devices"]
            listed = subprocess.run(adb, capture_output=True, text=True, check=True).stdout
            assert LOOPBACK not in listed
        assert answers(5037)
        assert users is None or users.poll() is None
    finally:
        if users is not None:
            users.terminate()
            users.wait()


def test_no_adb_server_of_the_users_is_started(boot: OpenOne) -> None:
    if answers(5037):
        pytest.fail("an adb server runs on this machine: stop it (adb kill-server) for this test")
    with boot() as session:
        session.device.shell("true")
        assert not answers(5037)
    assert not answers(5037)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


# Opens a session, prints its phase, and waits; its argument names the phase to stop in.
_RUNNER = Path(__file__).with_name("open_a_session.py")


@pytest.mark.parametrize("phase", ["start", "boot", "device", "command"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing(
    phase: str, number: signal.Signals, kernel: KernelBuild, rootfs: Rootfs, tmp_path: Path
) -> None:
    scratch = Path(tempfile.gettempdir()) / "run"
    scratch.mkdir()
    runner = subprocess.Popen(
        [sys.executable, str(_RUNNER), phase, kernel.image, rootfs.initramfs, kernel.release],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    try:
        assert runner.stdout.readline() == f"{phase}\n"
        # The phase may be printed while the child has not executed QEMU yet.
        deadline = time.monotonic() + AT_ONCE
        while not any(child.name().startswith("qemu") for child in descendants(runner.pid)):
            assert time.monotonic() < deadline, "no QEMU was started"
            time.sleep(0.01)
        children = descendants(runner.pid)
        runner.send_signal(number)
        runner.communicate(timeout=LONG)
    finally:
        runner.kill()
    assert psutil.wait_procs(children, timeout=AT_ONCE)[1] == []
    if number == signal.SIGINT:
        assert runner.returncode == 130
        assert list(scratch.iterdir()) == []
    subprocess.run(["rm", "-r", str(scratch)], check=True)
