# SPDX-License-Identifier: MIT
"""adb's server of our own, and the shell protocol over a connection that a test holds."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import adbutils  # type: ignore[import-untyped]
import pytest

from harness import adb, ports
from harness.adb import AdbServer, Device, RunningCommand
from harness.errors import BootError, DeviceError
from harness.lifetime import Health

STDOUT, STDERR, EXIT = 1, 2, 3


def answers(port: int) -> bool:
    """Whether somebody listens on `port` of the loopback interface."""
    with socket.socket() as caller:
        caller.settimeout(1.0)
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Wire:
    """The two ends of a connection to a device; this one is the device's."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.connection = adbutils.AdbConnection.__new__(adbutils.AdbConnection)
        self.connection._AdbConnection__conn = theirs

    def send(self, kind: int, data: bytes) -> None:
        self.ours.sendall(struct.pack("<BI", kind, len(data)) + data)

    def exit(self, status: int) -> None:
        self.send(EXIT, bytes([status]))


class FakeDevice(Device):
    """A device whose shells are wires."""

    def __init__(self, *, answers: bool = True) -> None:
        self.health = Health()
        self.prelude = ""
        self._legacy_shell = False
        self.server = adb.AdbServer.__new__(adb.AdbServer)
        self.server.log = Path("adb.log")
        self._answers = answers
        self.wires: list[Wire] = []
        self.opened = threading.Semaphore(0)

    def open_shell(self, command: str, *, legacy: bool = False) -> adbutils.AdbConnection:
        wire = Wire()
        self.wires.append(wire)
        if command == "echo" and self._answers:
            wire.exit(0)
        self.opened.release()
        return wire.connection


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb, "_ECHO_SECONDS", 0.3)
    monkeypatch.setattr(adb, "_CAUSE_SECONDS", 0.3)
    monkeypatch.setattr(AdbServer, "alive", property(lambda _: True))


def start(device: FakeDevice, command: str = "command") -> tuple[RunningCommand, Wire]:
    running = device.start(command)
    assert device.opened.acquire(timeout=5)
    return running, device.wires[-1]


def test_output_and_status() -> None:
    command, wire = start(FakeDevice())
    wire.send(STDOUT, b"one\ntw")
    wire.send(STDERR, b"o\nrest")
    wire.exit(3)
    result = command.wait(5)
    assert (result.status, result.output) == (3, "one\ntwo\nrest")
    assert command.lines == ["one", "two", "rest"]


def test_a_character_in_two_packets() -> None:
    command, wire = start(FakeDevice())
    whole = "ä".encode()
    wire.send(STDOUT, whole[:1])
    wire.send(STDOUT, whole[1:] + b"\xff")
    wire.exit(0)
    assert command.wait(5).output.startswith("ä")


def test_lines_are_returned_once_and_in_order() -> None:
    command, wire = start(FakeDevice())
    wire.send(STDOUT, b"a 1\nb 1\na 2\na 3")
    assert command.wait_line("a", 5) == "a 1"
    assert command.wait_line("a", 5) == "a 2"
    # Not yet a line: more may come.
    assert command.lines[-1] == "a 2"
    wire.exit(0)
    assert command.wait_line("a", 5) == "a 3"
    with pytest.raises(DeviceError, match="ended with status 0 and no line like 'b'"):
        command.wait_line("b", 5)


def test_a_slow_command_on_a_live_guest() -> None:
    device = FakeDevice()
    command, _ = start(device)
    with pytest.raises(DeviceError, match=r"has not ended within 0\.2 s"):
        command.wait(0.2)
    assert not device.health.failed


def test_a_slow_command_on_a_dead_guest_poisons() -> None:
    device = FakeDevice(answers=False)
    command, _ = start(device)
    with pytest.raises(DeviceError, match="the guest does not answer any more"):
        command.wait(0.2)
    with pytest.raises(DeviceError, match="the guest does not answer any more"):
        device.start("anything")


def test_a_broken_connection_poisons() -> None:
    device = FakeDevice()
    command, wire = start(device)
    wire.send(STDOUT, b"last words\n")
    wire.ours.close()
    with pytest.raises(DeviceError, match="connection to the device broke") as caught:
        command.wait(5)
    assert caught.value.tail == "last words"
    assert device.health.failed


def test_a_broken_connection_whose_cause_comes_a_moment_later() -> None:
    device = FakeDevice()
    command, wire = start(device)
    wire.ours.close()
    timer = threading.Timer(0.1, lambda: device.health.fail(BootError("kernel panic: x")))
    timer.start()
    with pytest.raises(BootError, match="kernel panic"):
        command.wait(5)
    timer.join()


def test_the_first_cause_wakes_who_waits() -> None:
    device = FakeDevice()
    command, _ = start(device)
    threading.Timer(0.1, lambda: device.health.fail(BootError("kernel panic: x"))).start()
    begun = time.monotonic()
    with pytest.raises(BootError, match="kernel panic"):
        command.wait_line("never", 60)
    assert time.monotonic() - begun < 2


def test_close_ends_the_reading() -> None:
    command, wire = start(FakeDevice())
    command.close()
    wire.ours.settimeout(5)
    assert wire.ours.recv(1) == b""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    monkeypatch.undo()
    server = AdbServer(tmp_path, tmp_path / "adb.log")
    yield server
    server.close()


def test_a_server_of_our_own(server: AdbServer, tmp_path: Path) -> None:
    assert server.port != 5037
    assert server.alive
    assert server.client().server_version() > 30
    assert server.environment()["ANDROID_ADB_SERVER_PORT"] == str(server.port)
    # Its keys are in its own home.
    assert (tmp_path / ".android").is_dir()
    server.close()
    assert not server.alive
    assert not answers(server.port)


def test_a_dead_server_is_not_replaced_by_the_users(server: AdbServer) -> None:
    client = server.client()
    server.close()
    before = answers(5037)
    with pytest.raises(adbutils.AdbError):
        client.server_version()
    assert answers(5037) == before


def test_a_port_that_is_taken(
    server: AdbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = ports.free_port()
    choices = iter((server.port, free))
    monkeypatch.setattr(adb, "free_port", lambda: next(choices))
    other = AdbServer(tmp_path, tmp_path / "other.log")
    try:
        assert other.port == free
        assert server.alive
    finally:
        other.close()


def test_a_server_that_never_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(adb, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(DeviceError, match="adb's server does not start"):
            AdbServer(tmp_path, tmp_path / "adb.log")
