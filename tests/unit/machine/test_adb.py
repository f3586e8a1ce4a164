# SPDX-License-Identifier: MIT
"""adb's server of our own, and the shell protocol over a connection that a test holds."""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import adbutils  # type: ignore[import-untyped]
import pytest
from fake_adb import FakeAdb, KnownServer, fake_adb

from harness.core import ports
from harness.core.errors import BootError, DeviceError
from harness.core.lifetime import Health
from harness.machine import adb
from harness.machine.adb import AdbServer, Device, RunningCommand

STDIN, STDOUT, STDERR, EXIT = 0, 1, 2, 3


def answers(port: int) -> bool:
    """Whether somebody listens on `port` of the loopback interface."""
    with socket.socket() as caller:
        caller.settimeout(1.0)
        return caller.connect_ex(("127.0.0.1", port)) == 0


# In seconds: more than anything here takes on a busy host.
SOON = 60.0
# What a command is made for a shell that tells no status.
MARKER = re.compile(
    r"sh -c (?P<command>.+) </dev/null; echo (?P<a>gfoom-\w+)''(?P<b>\w+:)\$\?", re.DOTALL
)


class Wire:
    """The two ends of a connection to a device; this one is the device's."""

    # What comes before the status, by the first shell protocol.
    end = ""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.connection = adbutils.AdbConnection.__new__(adbutils.AdbConnection)
        self.connection._AdbConnection__conn = theirs

    def send(self, kind: int, data: bytes) -> None:
        self.ours.sendall(struct.pack("<BI", kind, len(data)) + data)

    def say(self, text: str) -> None:
        """Sends the text by the command's protocol: by the first, as a terminal has it."""
        if self.end:
            self.ours.sendall(text.encode().replace(b"\n", b"\r\n"))
        else:
            self.send(STDOUT, text.encode())

    def exit(self, status: int) -> None:
        """Sends the status."""
        if self.end:
            self.say(f"{self.end}{status}\n")
        else:
            self.send(EXIT, bytes([status]))


class FakeDevice(Device):
    """A device whose shells are wires."""

    def __init__(self, *, answers: bool = True, legacy: bool = False) -> None:
        self.health = Health()
        self.prelude = ""
        # One that answers may take its time.
        self.echo_seconds = SOON if answers else 0.3
        self.legacy_shell = legacy
        self._kept, self._kept_lock = None, threading.Lock()
        self.server = KnownServer()
        self._answers = answers
        self.wires: list[Wire] = []
        self.opened = threading.Semaphore(0)

    def open_shell(self, command: str, *, keeps_input: bool = False) -> adbutils.AdbConnection:
        assert keeps_input == command.endswith("done")
        wire = Wire()
        self.wires.append(wire)
        if self.legacy_shell:
            marker = MARKER.fullmatch(command)
            assert marker is not None, command
            wire.end, command = marker["a"] + marker["b"], marker["command"]
        if command == "echo" and self._answers:
            wire.exit(0)
        self.opened.release()
        return wire.connection


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb, "_CAUSE_SECONDS", 0.3)


def start(device: FakeDevice, command: str = "command") -> tuple[RunningCommand, Wire]:
    running = device.start(command)
    assert device.opened.acquire(timeout=SOON)
    return running, device.wires[-1]


def panic_soon(device: Device) -> None:
    threading.Timer(0.1, lambda: device.health.fail(BootError("kernel panic: x"))).start()


BOTH = pytest.mark.parametrize("legacy", [False, True], ids=["shell v2", "the first shell"])


def test_a_line_and_a_character_in_two_packets_and_the_status() -> None:
    command, wire = start(FakeDevice())
    wire.send(STDOUT, b"one\ntw")
    wire.send(STDERR, b"o\nrest \xc3")
    wire.send(STDOUT, b"\xa4\xff")
    wire.exit(3)
    result = command.wait(SOON)
    assert (result.status, result.output) == (3, "one\ntwo\nrest ä\ufffd")


@BOTH
def test_a_command_that_was_given_up_before_it_began_is_not_read(legacy: bool) -> None:
    """The guest may take its time to begin it: the host may stand still meanwhile."""
    gate = threading.Event()

    class Slow(FakeDevice):
        def open_shell(self, command: str, **options: bool) -> adbutils.AdbConnection:
            gate.wait(SOON)
            return super().open_shell(command, **options)

    device = Slow(legacy=legacy)
    device.start("command").close()
    gate.set()
    assert device.opened.acquire(timeout=SOON)
    ours = device.wires[-1].ours
    ours.settimeout(SOON)
    assert ours.recv(1) == b""


@BOTH
def test_lines_are_returned_once_and_in_order(legacy: bool) -> None:
    command, wire = start(FakeDevice(legacy=legacy))
    wire.say("a 1\nb 1\na 2\na 3")
    assert command.wait_line("a", SOON) == "a 1"
    assert command.wait_line("a", SOON) == "a 2"
    assert not command.ended
    wire.exit(0)
    assert command.wait_line("a", SOON) == "a 3"
    with pytest.raises(DeviceError, match="ended with status 0 and no line like 'b'"):
        command.wait_line("b", SOON)


@BOTH
@pytest.mark.parametrize("answers", [True, False])
def test_a_slow_command_poisons_only_where_the_echo_does_not_come(
    answers: bool, legacy: bool
) -> None:
    device = FakeDevice(answers=answers, legacy=legacy)
    command, _ = start(device)
    message = r"has not ended within 0\.2 s" if answers else "the guest does not answer any more"
    with pytest.raises(DeviceError, match=message):
        command.wait(0.2)
    assert device.health.failed != answers
    with nullcontext() if answers else pytest.raises(DeviceError, match=message):
        device.start("anything")


@BOTH
def test_a_broken_connection_poisons(legacy: bool) -> None:
    device = FakeDevice(legacy=legacy)
    command, wire = start(device)
    wire.say("last words\n")
    wire.ours.close()
    with pytest.raises(DeviceError, match="connection to the device broke") as caught:
        command.wait(SOON)
    assert caught.value.tail == "last words"
    assert device.health.failed


@pytest.mark.parametrize("broken", [False, True])
def test_the_first_cause_wakes_who_waits(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    """Also where it comes a moment after the connection broke."""
    monkeypatch.setattr(adb, "_CAUSE_SECONDS", 10 * SOON)
    device = FakeDevice()
    command, wire = start(device)
    if broken:
        wire.ours.close()
    panic_soon(device)
    begun = time.monotonic()
    with pytest.raises(BootError, match="kernel panic"):
        command.wait_line("never", 10 * SOON)
    assert time.monotonic() - begun < SOON


def test_close_ends_the_reading() -> None:
    command, wire = start(FakeDevice())
    command.close()
    wire.ours.settimeout(SOON)
    assert wire.ours.recv(1) == b""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AdbServer]:
    with closing(AdbServer(tmp_path, tmp_path / "adb.log")) as server:
        yield server


def take(wire: Wire) -> tuple[str, str]:
    """Read a command as the kept shell does: the marker, and the script."""
    kind, length = struct.unpack("<BI", wire.ours.recv(5, socket.MSG_WAITALL))
    assert kind == STDIN
    end, size, text = wire.ours.recv(length, socket.MSG_WAITALL).decode().split("\n", 2)
    assert int(size) == len(text.encode())
    return end, text


def test_commands_share_the_kept_shell() -> None:
    device = FakeDevice()
    for number, text in enumerate(("echo ä", "exit 7\n#")):
        with closing(device.start(text, kept=True)) as command:
            if not number:
                assert device.opened.acquire(timeout=SOON)
            (wire,) = device.wires
            end, script = take(wire)
            assert script == text
            # The marker may come behind an unfinished line, and in pieces.
            wire.send(STDOUT, f"one\ntwo{end[:9]}".encode())
            wire.send(STDOUT, f"{end[9:]}{number}\n".encode())
            result = command.wait(SOON)
        assert (result.status, result.output) == (number, "one\ntwo")


def test_a_command_that_is_given_up_takes_the_kept_shell_with_it() -> None:
    device = FakeDevice()
    command = device.start("sleep", kept=True)
    assert device.opened.acquire(timeout=SOON)
    take(device.wires[0])
    command.close()
    assert device.wires[0].ours.recv(1) == b""
    again = device.start("true", kept=True)
    assert device.opened.acquire(timeout=SOON)
    end, _ = take(device.wires[1])
    device.wires[1].say(f"{end}0\n")
    assert again.wait(SOON).status == 0


@pytest.mark.parametrize("ended", [True, False])
def test_a_kept_shell_that_ended_or_prints_by_itself_is_kept_no_longer(ended: bool) -> None:
    device = FakeDevice()
    for number in range(2):
        with closing(device.start("true", kept=True)) as command:
            assert device.opened.acquire(timeout=SOON)
            wire = device.wires[number]
            end, _ = take(wire)
            wire.say(f"{end}0\n")
            assert command.wait(SOON).output == ""
        # Wait until the shell is given back.
        with device._kept_lock:
            wire.ours.close() if ended else wire.say("from a process that was left behind\n")


def test_the_kept_shell_ends_within_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    with closing(device.start("kill $PPID", kept=True)) as command:
        assert device.opened.acquire(timeout=SOON)
        take(device.wires[0])
        device.wires[0].exit(0)
        with pytest.raises(DeviceError, match="the kept shell ended"):
            command.wait(SOON)


def test_the_first_shell_protocol_keeps_no_shell() -> None:
    device = FakeDevice(legacy=True)
    with closing(device.start("true", kept=True)) as command:
        assert device.opened.acquire(timeout=SOON)
        device.wires[0].exit(0)
        assert command.wait(SOON).status == 0


def test_the_loop_of_the_kept_shell_does_one_script_after_another() -> None:
    shell = shutil.which("mksh") or shutil.which("ksh") or shutil.which("bash")
    assert shell is not None
    loop = adb._KEEP
    if shell.endswith("bash"):
        loop = loop.replace("print -r --", "printf '%s\\n'")
    scripts = {"echo x; exit 3": "x\nm3\n", "cat; echo y >&2": "y\nm0\n", "cd /; pwd": "/\nm0\n"}
    wanted = "".join(f"m\n{len(text)}\n{text}" for text in scripts)
    done = subprocess.run([shell, "-c", loop], input=wanted.encode(), capture_output=True)
    assert done.stdout.decode() == "".join(scripts.values())


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


@pytest.mark.parametrize("there", [True, False])
def test_a_server_takes_the_key_that_it_is_given(tmp_path: Path, there: bool) -> None:
    keys, home = tmp_path / "keys", tmp_path / "home"
    for folder in (keys, home):
        folder.mkdir()
    if there:
        adb.make_key(keys)
        assert sorted(path.name for path in keys.iterdir()) == ["adbkey", "adbkey.pub"]
    with closing(AdbServer(home, tmp_path / "adb.log", keys)) as server:
        assert server.client().server_version() > 30
        # The server has read its key, or made one, before it listens.
        key = (home / ".android/adbkey").read_bytes()
    assert (there and key == (keys / "adbkey").read_bytes()) or (not there and key)
    assert ("generate_key" in (tmp_path / "adb.log").read_text()) is not there


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
    with closing(AdbServer(tmp_path, tmp_path / "other.log")) as other:
        assert other.port == free
        assert server.alive


def test_a_server_that_never_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb, "PORT_ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(adb, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(DeviceError, match="adb's server does not start"):
            AdbServer(tmp_path, tmp_path / "adb.log")


# --- the first shell protocol --------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("status", [0, 1, 12, 127, 255])
@pytest.mark.parametrize("text", ["", "one\n\nzwei ä\n", "no line end"])
def test_the_status_is_read_out_of_a_text_in_any_pieces(text: str, status: int, size: int) -> None:
    class InPieces(FakeDevice):
        def open_shell(self, command: str, **_options: bool) -> Any:
            marker = MARKER.fullmatch(command)
            assert marker is not None
            whole = f"{text}{marker['a']}{marker['b']}{status}\n".replace("\n", "\r\n").encode()
            pieces = iter([whole[at : at + size] for at in range(0, len(whole), size)])
            conn = SimpleNamespace(recv=lambda _most: next(pieces, b""))
            return SimpleNamespace(conn=conn, closed=True, close=lambda: None)

    result = InPieces(legacy=True).start("command").wait(SOON)
    assert (result.status, result.output) == (status, text)


def test_a_marker_of_another_command_is_output() -> None:
    device = FakeDevice(legacy=True)
    _, other = start(device)
    command, wire = start(device)
    wire.say(f"{other.end}7\n{wire.end}0\n")
    result = command.wait(SOON)
    assert (result.status, result.output) == (0, f"{other.end}7\n")


def test_what_comes_behind_the_status_is_somebody_elses() -> None:
    command, wire = start(FakeDevice(legacy=True))
    wire.say(f"one\n{wire.end}0\nlate\nlater")
    wire.ours.close()
    result = command.wait(SOON)
    assert (result.status, result.output) == (0, "one\n")


def test_nobody_sees_the_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    accept = RunningCommand._accept

    def watched(command: RunningCommand, kind: int, data: bytes) -> None:
        accept(command, kind, data)
        # Whoever reads has been woken; it must not get at the lines yet.
        reads = threading.Event()

        def read() -> None:
            reads.set()
            seen.append(command.output)

        reader = threading.Thread(target=read)
        reader.start()
        assert reads.wait(SOON)
        reader.join(0.2)

    monkeypatch.setattr(RunningCommand, "_accept", watched)
    command, wire = start(FakeDevice(legacy=True))
    wire.say(f"one\n{wire.end}0\n")
    assert command.wait(SOON).output == "one\n"
    deadline = time.monotonic() + SOON
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == ["one\n"]


# --- a device behind a server --------------------------------------------------------


@pytest.fixture
def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[FakeAdb]:
    """A server, and a device behind it, whose adbd may have other features."""
    monkeypatch.setattr(adb, "_POLL_SECONDS", 0.005)
    with fake_adb(tmp_path) as world:
        world.features = getattr(request, "param", world.features)
        yield world


def device_of(world: FakeAdb, address: str = "emulator-5556") -> Device:
    return Device(KnownServer(world.port, world.log), address, Health())


def connected(world: FakeAdb) -> Device:
    device = device_of(world)
    device.connect(SOON)
    return device


FEATURES = pytest.mark.parametrize(
    ("world", "legacy"),
    [("shell_v2,cmd", False), ("cmd", True), ("", True)],
    ids=["shell v2", "other features", "no features"],
    indirect=["world"],
)


@FEATURES
def test_the_device_tells_which_shell_it_has(world: FakeAdb, legacy: bool) -> None:
    device = connected(world)
    assert device.legacy_shell == legacy
    device.shell("true")
    kinds = {text.partition(":")[0] for text in world.asked if text.startswith("shell")}
    assert kinds == {"shell" if legacy else "shell,v2,raw"}


@FEATURES
@pytest.mark.parametrize(
    ("command", "status", "output"),
    [
        ("echo one; echo two >&2", 0, "one\ntwo\n"),
        ("printf rest; exit 3", 3, "rest"),
        ("exec false", 1, ""),
        ('echo "it\'s" \'"$HOME"\'', 0, 'it\'s "$HOME"\n'),
        ("echo one; exit 4; echo never", 4, "one\n"),
    ],
)
def test_a_shell_by_either_protocol(
    world: FakeAdb, legacy: bool, command: str, status: int, output: str
) -> None:
    result = connected(world).shell(command, check=False)
    assert (result.status, result.output) == (status, output)


@FEATURES
def test_a_status_that_means_failure(world: FakeAdb, legacy: bool) -> None:
    with pytest.raises(DeviceError, match="'echo no; exit 9' ended with status 9") as caught:
        connected(world).shell("echo no; exit 9")
    assert caught.value.tail == "no"


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("emulator-5556", "5557"),
        # Whatever is no emulator's serial is an address.
        *[(address, "") for address in ("127.0.0.1:5557", "emulator-5556:x", "my-emulator-5556")],
    ],
)
def test_an_emulator_is_told_of_by_its_port(world: FakeAdb, address: str, port: str) -> None:
    device_of(world, address).connect(SOON)
    assert world.said_to_device("host:emulator:") == ([port] if port else [])
    assert world.said_to_device("host:connect:") == ([] if port else [address])
    assert f"host-serial:{address}:get-state" in world.asked


def test_an_emulator_that_comes_later_is_told_of_again(world: FakeAdb) -> None:
    world.away = 3
    connected(world)
    assert world.said_to_device("host:emulator:") == ["5557"] * 4


def test_an_emulator_that_stays_away(world: FakeAdb) -> None:
    world.state = "offline"
    with pytest.raises(DeviceError, match=r"did not reach the device within 0\.1 s") as caught:
        device_of(world).connect(0.1)
    assert caught.value.tail == "what adb's server says"


def test_adbd_is_waited_for_while_it_starts_anew(world: FakeAdb) -> None:
    device = connected(world)
    world.away = 5
    device.become_root(5)
    assert world.away < 0
    assert not device.health.failed


def test_whoever_is_root_is_not_asked_to_become_it(world: FakeAdb) -> None:
    world.become("uid=0(root) gid=0(root)")
    connected(world).become_root(5)
    assert "root:" not in world.asked


def test_adbd_that_somebody_else_has_made_root(world: FakeAdb) -> None:
    world.root_answer = "adbd is already running as root\n"
    connected(world).become_root(5)
    assert world.asked.count("root:") == 1


@FEATURES
@pytest.mark.parametrize(("lingers", "cuts"), [(0, 0), (0, 1), (0, 3), (2, 0), (2, 2)])
def test_adbd_becomes_root_and_the_old_one_goes_when_it_likes(
    world: FakeAdb, legacy: bool, lingers: int, cuts: int
) -> None:
    device = connected(world)
    world.lingers, world.cuts = lingers, cuts
    device.become_root(SOON)
    assert device.shell("id").output.startswith("uid=0(root)")
    assert world.asked.count("root:") == 1
    assert not device.health.failed


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ("adbd cannot run as root in production builds\n", 10 * SOON),
        ("something else\n", 0.2),
    ],
)
def test_adbd_that_cannot_run_as_root(world: FakeAdb, answer: str, seconds: float) -> None:
    world.root_answer = answer
    world.becomes_root = False
    device = connected(world)
    begun = time.monotonic()
    with pytest.raises(DeviceError, match="adbd does not run as root") as caught:
        device.become_root(seconds)
    assert time.monotonic() - begun < SOON
    assert caught.value.tail == answer.strip()
    assert "without Google Play" in caught.value.hint
    assert not device.health.failed


def test_a_machine_that_dies_ends_the_waiting_for_root(world: FakeAdb) -> None:
    world.becomes_root = False
    device = connected(world)
    panic_soon(device)
    with pytest.raises(BootError, match="kernel panic"):
        device.become_root(60)
