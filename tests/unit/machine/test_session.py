# SPDX-License-Identifier: MIT
"""What a session stands on: its first cause, its scratch folder, its `boot` task."""

from __future__ import annotations

import io
import os
import platform
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import adbutils.sync  # type: ignore[import-untyped]
import psutil
import pytest
from android_5 import SHELLS_OWN, TOOLBOX
from fake_adb import KnownServer, fake_adb
from stand_ins import script, workspace

from harness.core.errors import (
    BootError,
    DeviceError,
    InfrastructureError,
    RunEndedError,
    UsageError,
)
from harness.core.lifetime import Health, Healths, bound_to_us
from harness.core.paths import REPO
from harness.jobs import boot
from harness.machine import adb, session, snapshot
from harness.machine.adb import Device
from harness.machine.session import ANDROID_PRELUDE, Session
from harness.scenarios.catalogue import UIDS
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import DEVICE_FOLDER, BootLimits


def test_the_first_cause_stays() -> None:
    health = Health()
    health.check()
    health.fail(BootError("first", tail="tail", log=Path("log")))
    health.fail(DeviceError("second"))
    for _ in range(2):
        with pytest.raises(BootError, match="first") as caught:
            health.check()
        assert (caught.value.tail, caught.value.log) == ("tail", Path("log"))


def test_who_waits_is_woken() -> None:
    health = Health()
    called = threading.Event()
    health.listen(called.set)
    threading.Timer(0.1, lambda: health.fail(BootError("x"))).start()
    begun = time.monotonic()
    assert health.pause(600)
    assert called.wait(60)
    assert time.monotonic() - begun < 60


def test_all_machines_can_be_ended_also_those_that_come_later() -> None:
    healths, first, second, late = Healths(), Health(), Health(), Health()
    second.fail(BootError("x"))
    healths.add(first)
    healths.add(second)
    healths.end()
    healths.add(late)
    for health in (first, late):
        with pytest.raises(RunEndedError):
            health.check()
    with pytest.raises(BootError, match="x"):
        second.check()


def test_who_comes_later_is_told_at_once() -> None:
    health = Health()
    health.fail(BootError("x"))
    called = threading.Event()
    health.listen(called.set)
    assert called.is_set()
    assert health.pause(30)


def test_who_no_longer_listens_is_not_called() -> None:
    health = Health()
    called = threading.Event()
    health.listen(called.set)
    health.unlisten(called.set)
    health.fail(BootError("x"))
    assert not called.is_set()


def test_a_bound_process_dies_with_us_however_we_do() -> None:
    argv = bound_to_us(["sleep", "600"])
    script = (
        f"import subprocess, time; print(subprocess.Popen({argv!r}).pid, flush=True);"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=REPO) as us:
        assert us.stdout is not None
        child = psutil.Process(int(us.stdout.readline()))
        # Until then it is not bound yet.
        while child.name() != "sleep":
            time.sleep(0.01)
        os.kill(us.pid, signal.SIGKILL)
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_scratch_folders_are_short_enough_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = session._scratch_folder()
    try:
        assert len(str(folder)) < session._LONGEST_SCRATCH
        assert list(deep.iterdir()) == []
    finally:
        folder.rmdir()


LOCKUP = "[    1.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]\n"
OOPS = "[    1.000000] Unable to handle kernel NULL pointer dereference at virtual address 0000\n"


class Starts:
    """Attempts to start a guest; it comes up when its console shows nothing.

    `restored` are the consoles of the saved guest, and `booted` those of boots.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, still: float) -> None:
        self.restored: list[str] = []
        self.booted: list[str] = []
        self._still, self._output, self._folder = still, io.StringIO(), folder
        self._ws = workspace(folder / "cache", self._output)
        made = session._Start
        monkeypatch.setattr(
            made, "_start_qemu", lambda start, *_: self._begin(start, self.restored)
        )
        monkeypatch.setattr(made, "boot", lambda start, *_: self._begin(start, self.booted))
        monkeypatch.setattr(made, "_key", lambda *_: "key")
        monkeypatch.setattr(snapshot, "restore", lambda *_: Path("image"))
        for check in ("_prove", "_check_release"):
            monkeypatch.setattr(session, check, lambda *_: None)

    def start(self, *, saved: bool = False) -> None:
        if saved:
            self._ws.cache.ensure(snapshot.KIND, "key", lambda _path: None)
        what = session.Boot(LINUX_6_1, Path(), Path(), "", snapshot=saved)
        with session.open_session(self._ws, what, self._folder / "run"):
            pass

    @property
    def is_saved(self) -> bool:
        return self._ws.cache.has(snapshot.KIND, "key", seal=False)

    @property
    def said(self) -> str:
        return self._output.getvalue()

    def _begin(self, start: session._Start, consoles: list[str]) -> Any:
        clock = SimpleNamespace(stood_still_since=lambda _moment: self._still)
        start._note(cast(Health, SimpleNamespace(clock=clock)))
        start.folder.mkdir(exist_ok=True)
        console = consoles.pop(0)
        start._console_log.write_text(console)
        if console:
            raise BootError(f"the kernel complained: {console}")
        return SimpleNamespace(device=SimpleNamespace(connect=lambda _seconds: None))


def test_a_guest_is_booted_again_if_the_host_stood_still(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = Starts(monkeypatch, tmp_path, still=30.0)
    starts.booted = [LOCKUP, LOCKUP, ""]
    starts.start()
    assert starts.said.count("the host stood still: the kernel complained") == 2
    assert (tmp_path / "run/console.stood-still-at-start-2.log").read_text() == LOCKUP


@pytest.mark.parametrize(("still", "console"), [(0.0, LOCKUP), (30.0, OOPS), (30.0, LOCKUP + OOPS)])
def test_a_boot_that_fails_for_another_reason_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, still: float, console: str
) -> None:
    starts = Starts(monkeypatch, tmp_path, still)
    starts.booted = [console]
    with pytest.raises(BootError, match="the kernel complained"):
        starts.start()


def test_a_host_that_stands_still_in_all_boots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = Starts(monkeypatch, tmp_path, still=30.0)
    starts.booted = [LOCKUP] * 3
    with pytest.raises(BootError, match="soft lockup"):
        starts.start()


def test_a_saved_guest_is_not_to_blame_if_the_host_stood_still(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = Starts(monkeypatch, tmp_path, still=30.0)
    starts.restored = [LOCKUP, ""]
    starts.start(saved=True)
    assert starts.is_saved
    assert "thrown away" not in starts.said


def test_what_went_wrong_in_a_restored_guest_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = Starts(monkeypatch, tmp_path, still=30.0)
    starts.restored = [OOPS]
    with pytest.raises(BootError, match="the kernel of the restored guest"):
        starts.start(saved=True)
    assert not starts.is_saved


@pytest.mark.parametrize("user", ["root", "shell", "u0_a0", "u0_a99", "10070", "0"])
def test_boot_takes_a_user_of_the_guests(user: str) -> None:
    boot.check_user(user)


@pytest.mark.parametrize("user", ["", "u0_a100", "-1", "root; reboot", "nobody", "²"])
def test_boot_takes_no_other_user(user: str) -> None:
    with pytest.raises(UsageError, match="no user is called"):
        boot.check_user(user)


# --- the shell of `./inv boot` --------------------------------------------------------


class Checked(Device):
    """A device that answers, and notes what was being done when it was asked whether it does."""

    def __init__(self, port: int, log: Path, prelude: str = "", *, legacy: bool = False) -> None:
        super().__init__(KnownServer(port, log), "emulator-5556", Health(), prelude)
        self.legacy_shell = legacy
        self.checked: list[str] = []

    def check_answers(self, doing: str) -> None:
        self.checked.append(doing)


@pytest.mark.parametrize(
    ("legacy", "terminal", "mode"),
    [(False, True, ["-t"]), (False, False, ["-T"]), (True, True, ["-t"]), (True, False, [])],
)
def test_the_shell_has_the_terminal_that_adbd_can_give(
    legacy: bool, terminal: bool, mode: list[str]
) -> None:
    device = Checked(5038, Path("adb.log"), legacy=legacy)
    argv = boot.shell_command(device, "root", terminal=terminal)
    login = "cd /data/local/tmp && /system/bin/sh; exit 42"
    assert argv == ["adb", "-P", "5038", "-s", "emulator-5556", "shell", *mode, login]


@pytest.mark.parametrize(("user", "uid"), [("u0_a70", "10070"), ("shell", "2000"), ("123", "123")])
def test_on_an_android_the_shell_finds_our_tools(user: str, uid: str) -> None:
    device = Checked(5038, Path("adb.log"), ANDROID_PRELUDE)
    login = boot.shell_command(device, user, terminal=True)[-1]
    assert login == f"{ANDROID_PRELUDE}cd /data/local/tmp && su {uid}; exit 42"


class Opened:
    """A session with an adb program that is a script; what it read lies in `read`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.read = folder / "read"
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        monkeypatch.setattr(adb, "_CAUSE_SECONDS", 0.1)
        typed = SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(b"echo x"))
        monkeypatch.setattr(sys, "stdin", typed)
        self.device = Checked(5038, folder / "adb.log")
        self.checked = self.device.checked
        self.check = self.device.health.check

    def shell(self, text: str, *, legacy: bool = False) -> None:
        """Give a shell, with this adb."""
        script(self.folder / "adb", f"cat >{self.read}\n{text}")
        self.device.legacy_shell = legacy
        boot._shell(cast("Session", self), "root")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(tmp_path, monkeypatch)


@pytest.mark.parametrize(("status", "legacy"), [(1, False), (0, False), (1, True)])
def test_adb_that_cannot_run_the_shell_or_loses_it(
    opened: Opened, status: int, legacy: bool
) -> None:
    with pytest.raises(DeviceError, match=f"broke in 'the shell': adb ended with status {status}"):
        opened.shell(f"exit {status}", legacy=legacy)


def test_how_the_shell_ends_is_its_users_business(opened: Opened) -> None:
    # What runs on the device is run here; its end is status 3.
    opened.shell(
        'for last; do :; done; sh -c "$(echo "$last" | sed "s/.*&&.*;/sh -c \'exit 3\';/")"'
    )
    assert opened.checked == ["the shell"]


def test_the_first_cause_is_told_and_not_what_adb_says_of_it(opened: Opened) -> None:
    opened.device.health.fail(BootError("kernel panic: x"))
    with pytest.raises(BootError, match="kernel panic"):
        opened.shell("exit 1")


def test_the_first_shell_is_told_where_our_input_ends(opened: Opened) -> None:
    opened.shell("exit 0", legacy=True)
    assert opened.read.read_text() == "echo x\nexit\n"
    # Its adb tells nothing of a connection that broke.
    assert opened.checked == ["the shell"]


# --- an Android, until it has our tools -----------------------------------------------


def words_of(command: str) -> Iterator[str]:
    """What a shell's command runs: its own words, and programs."""
    tokens = list(shlex.shlex(command, posix=True, punctuation_chars=";&|<>"))
    begins = True
    for number, token in enumerate(tokens):
        if set(token) <= set(";&|"):
            begins = True
        elif begins:
            begins = False
            yield token
            if token == "sh" and tokens[number + 1] == "-c":
                yield from words_of(tokens[number + 2])


def test_words_of_a_command() -> None:
    command = "sh -c 'export A=1; id' </dev/null; echo x$? && uname -r | head > y"
    assert list(words_of(command)) == ["sh", "export", "id", "echo", "uname", "head"]


def test_an_android_5_has_all_that_it_is_asked_before_our_tools_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb, "_POLL_SECONDS", 0.005)
    monkeypatch.setattr(adbutils.sync.Sync, "push", lambda *_, **__: 0)
    with fake_adb(tmp_path) as world:
        world.features = ""
        world.program("getprop", "echo 1")
        server = KnownServer(world.port, world.log)
        device = Device(server, "emulator-5556", Health(), ANDROID_PRELUDE)
        device.connect(5)
        opened: Any = SimpleNamespace(device=device, console_log=tmp_path / "console.log")
        session._check_release(opened, platform.release())
        # Nothing lies where the tool should be.
        with pytest.raises(DeviceError, match="chmod 755 /data/local/tmp/nosuchtool"):
            session._make_ready(device, [tmp_path / "nosuchtool"], BootLimits(), UIDS)
        # This machine's shell has no word for it.
        with pytest.raises(DeviceError, match="print -rn -- x"):
            device.write_file("/dev/null", "x")
        words = {word for text in world.said_to_device("shell:") for word in words_of(text)}
    assert words <= {*SHELLS_OWN, *TOOLBOX}
    assert {"cat", "getprop", "id", "chmod", "print"} <= words


def test_what_an_emulator_is_brought_is_roots_and_anyone_may_run_it(tmp_path: Path) -> None:
    found: list[Any] = []

    def push(archive: Path, _remote: str) -> None:
        with tarfile.open(archive) as tar:
            found.extend((one.name, one.mode, one.uid, one.gname) for one in tar.getmembers())

    device: Any = SimpleNamespace(push=push, shell=found.append)
    session._bring(device, [script(tmp_path / name, "") for name in ("a", "b")])
    unpack = f"busybox tar -xf {DEVICE_FOLDER}/pushed.tar && rm {DEVICE_FOLDER}/pushed.tar"
    files = [(name, 0o755, 0, "root") for name in ("a", "b")]
    assert found == [*files, f"cd {DEVICE_FOLDER} && {unpack}"]


# --- users that the scenarios need ----------------------------------------------------

APPS = """com.android.browser 10012 0 /data/data/com.android.browser default 3003,1028
com.android.phone 1001 0 /data/data/com.android.phone platform 3002
"""


def test_apps_that_no_scenario_needs() -> None:
    session._check_apps(APPS, UIDS)
    session._check_apps("cat: /data/system/packages.list: No such file or directory\n", UIDS)


@pytest.mark.parametrize("uid", [10070, 10071, 10072, 10080, 10089])
def test_an_app_that_is_a_user_of_a_scenarios(uid: int) -> None:
    app = f"org.example.game {uid} 0 /data/data/org.example.game default none\n"
    with pytest.raises(InfrastructureError, match="users that the scenarios need") as caught:
        session._check_apps(APPS + app, UIDS)
    assert caught.value.tail == f"org.example.game is {uid}"
