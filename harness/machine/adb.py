# SPDX-License-Identifier: MIT
"""The device, as adb shows it: the one place that uses adbutils.

The adb server is a child of ours, on a port of its own, with a home of its
own. The user's server is neither asked nor started nor ended.
"""

from __future__ import annotations

import codecs
import re
import secrets
import shlex
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import adbutils  # type: ignore[import-untyped]
import psutil
from adbutils import AdbConnection

from harness.core.environment import environment_of
from harness.core.errors import DeviceError
from harness.core.lifetime import Health, bound_to_us
from harness.core.ports import LOOPBACK, PORT_ATTEMPTS, free_port
from harness.core.process import end_group, require

TAIL_LINES = 8
_ADB = "adb"
# Starting includes making the server's key: 0.2 s, on a loaded host seconds.
_SERVER_SECONDS = 60.0
_POLL_SECONDS = 0.05
# What opening a connection through the server to the device may take.
_OPEN_SECONDS = 30.0
# When a connection breaks, the console may know why, a moment later; on a busy host much
# later. Of the server's end it knows nothing.
_CAUSE_SECONDS, _SERVER_CAUSE_SECONDS = 15.0, 1.5
# A guest that does not answer an echo for this long is not merely busy; a board may say more.
_ECHO_SECONDS = 20.0
_PUSH_SECONDS = 300.0
_SHELL_V2 = "shell_v2"
# What `id` says of root.
_ROOT = "uid=0("
# adbd's words when it is asked to run as root.
_IS_ROOT, _NEVER_ROOT = "already running as root", "cannot run as root"
_EMULATOR = re.compile(r"emulator-(\d+)")
_RECEIVE_BYTES = 1 << 16
# The shell protocol's packets (adb's docs call it "shell,v2"): kind, length.
_HEADER = struct.Struct("<BI")
_STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 1, 2, 3, 4


@dataclass(frozen=True)
class ShellResult:
    """How a command ended: its status, and what it wrote to stdout and stderr."""

    status: int
    output: str


class _Connection(AdbConnection):  # type: ignore[misc]  # adbutils has no types
    """A connection that fails where adbutils would start the user's adb server."""

    def _safe_connect(self) -> object:
        return self._create_socket()


class _Client(adbutils.AdbClient):  # type: ignore[misc]  # adbutils has no types
    """adbutils' client over connections of the kind above."""

    def make_connection(self, timeout: float | None = None) -> AdbConnection:
        connection = _Connection(self.host, self.port)
        connection.conn.settimeout(timeout)
        return connection


class AdbServer:
    """An adb server of our own. `scratch` becomes its home, `log` gets what it says.

    Raises DeviceError if it does not come up, ToolMissingError without adb.
    """

    def __init__(self, scratch: Path, log: Path) -> None:
        require(_ADB, "setpriv")
        self.log = log
        for _ in range(PORT_ATTEMPTS):
            self.port = free_port()
            self._process = self._start(scratch)
            try:
                if self._comes_up():
                    return
            except BaseException:
                self.close()
                raise
            self.close()
        raise DeviceError("adb's server does not start", log=log, tail=_tail(log.read_text()))

    def client(self) -> adbutils.AdbClient:
        """A client of this server."""
        return _Client(LOOPBACK, self.port)

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._process.poll() is None

    def environment(self) -> dict[str, str]:
        """The environment in which the stock adb program talks to this server."""
        return environment_of(_ADB, {"ANDROID_ADB_SERVER_PORT": str(self.port)})

    def close(self) -> None:
        """Ends the server."""
        end_group(self._process)

    def _start(self, scratch: Path) -> subprocess.Popen[bytes]:
        ours = {
            # Keys and settings: not the user's.
            "HOME": str(scratch),
            "ANDROID_USER_HOME": str(scratch),
            "ANDROID_SDK_HOME": str(scratch),
            "TMPDIR": str(scratch),
            # No search for emulators (ports up to this one), on USB, on the network.
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
            "ADB_USB": "0",
            "ADB_MDNS": "0",
            "ADB_MDNS_AUTO_CONNECT": "0",
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                bound_to_us([_ADB, "-P", str(self.port), "server", "nodaemon"]),
                env=environment_of(_ADB, ours),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _comes_up(self) -> bool:
        """Whether it listens; False if it ended, as when somebody took the port."""
        deadline = time.monotonic() + _SERVER_SECONDS
        while self.alive and time.monotonic() < deadline:
            if self._listens():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _listens(self) -> bool:
        """Whether our process has the port: to call it could reach somebody else's server."""
        try:
            sockets = psutil.Process(self._process.pid).net_connections(kind="tcp")
        except psutil.Error:
            return False
        return any(s.status == psutil.CONN_LISTEN and s.laddr[1] == self.port for s in sockets)


class RunningCommand:
    """A command on the device; a thread collects its lines as they come.

    Its standard input is empty. stdout and stderr come together. That thread calls
    `on_line` with each line that has its end. Seconds are those in which the machine had a
    CPU: see MachineClock.
    """

    def __init__(
        self,
        device: Device,
        command: str,
        name: str,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._on_line = on_line
        self._device = device
        self._command = command
        self._changed = threading.Condition()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._lines: list[str] = []
        self._rest = ""
        self._status: int | None = None
        self._lost: str | None = None
        # How many lines are behind us: up to the one that wait_line returned last.
        self._passed = 0
        self._connection: AdbConnection | None = None
        device.health.listen(self._wake)
        threading.Thread(target=self._collect, name="adb-command", daemon=True).start()

    @property
    def output(self) -> str:
        """All that it has written so far."""
        with self._changed:
            return "".join(f"{line}\n" for line in self._lines) + self._rest

    @property
    def lines(self) -> list[str]:
        """The whole lines that it has written so far; when it has ended, the rest too."""
        with self._changed:
            return [*self._lines, self._rest] if self._rest and self._over else [*self._lines]

    @property
    def ended(self) -> bool:
        """Whether it has ended, or the connection to it has."""
        return self._over

    def wait_line(self, wanted: str | re.Pattern[str], timeout: float) -> str:
        """The next line (behind the one returned last) that begins with or matches `wanted`.

        Raises DeviceError if the command ends without it, or it has not come
        after `timeout` seconds; the session's first cause if there is one.
        """
        found: list[str] = []

        def look() -> bool:
            line = self._next(wanted)
            if line is not None:
                found.append(line)
            return line is not None or self._over

        done = self._wait(look, timeout)
        if found:
            return found[0]
        missing = f"no line like {_shown(wanted)}"
        self._check(done, timeout, missing)
        raise DeviceError(
            f"{self.name!r} ended with status {self._status} and {missing}",
            tail=_tail(self.output),
        )

    def wait(self, timeout: float) -> ShellResult:
        """How it ended. Raises DeviceError after `timeout` seconds, or the first cause."""
        done = self._wait(lambda: self._over, timeout)
        self._check(done, timeout, "it has not ended")
        assert self._status is not None
        return ShellResult(self._status, self.output)

    def answered(self, timeout: float) -> bool:
        """Whether it has ended by itself within `timeout` seconds. Raises nothing."""
        self._wait(lambda: self._over, timeout)
        return self._status is not None

    def close(self) -> None:
        """Stops listening to it. On the device it gets SIGPIPE if it goes on writing."""
        self._device.health.unlisten(self._wake)
        connection = self._connection
        if connection is not None and not connection.closed:
            # Wakes the thread, which then closes it.
            with suppress(OSError, adbutils.AdbError):
                connection.conn.shutdown(socket.SHUT_RDWR)

    @property
    def _over(self) -> bool:
        return self._status is not None or self._lost is not None

    def _next(self, wanted: str | re.Pattern[str]) -> str | None:
        """The next line that is wanted, which then is behind us; so are those before it."""
        lines = [*self._lines[self._passed :], *([self._rest] if self._over else [])]
        for line in lines:
            self._passed += 1
            if line.startswith(wanted) if isinstance(wanted, str) else wanted.search(line):
                return line
        return None

    def _wait(self, ready: Callable[[], bool], timeout: float) -> bool:
        health = self._device.health
        until = health.clock.now() + timeout
        with self._changed:
            while not (done := ready()) and not health.failed:
                left = until - health.clock.now()
                if left <= 0:
                    break
                # The clock may stand still meanwhile.
                self._changed.wait(left)
            return done

    def _check(self, done: bool, timeout: float, missing: str) -> None:
        """Raises what kept the command from being done, if something did."""
        if not done:
            self._device.health.check()
            self._device.check_answers(self.name)
            raise DeviceError(
                f"{self.name!r}: {missing} within {timeout:g} s", tail=_tail(self.output)
            )
        if self._lost is not None:
            self._device.fail_lost(self.name, self._lost, _tail(self.output))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _collect(self) -> None:
        """The thread: from the opening of the shell to its last packet."""
        lost = "the connection ended"
        try:
            if self._device.legacy_shell:
                self._collect_legacy()
            else:
                self._connection = self._device.open_shell(self._command)
                while self._status is None:
                    self._accept(*_packet(self._connection))
        except (adbutils.AdbError, OSError, EOFError) as error:
            lost = str(error) or lost
        finally:
            with self._changed:
                if self._status is None:
                    self._lost = lost
                self._changed.notify_all()
            if self._connection is not None:
                self._connection.close()

    def _collect_legacy(self) -> None:
        """By the first shell protocol: a terminal's output, the status behind a fresh marker.

        In a shell of its own, so that a command that ends its shell ends that.
        """
        end = f"gfoom-{secrets.token_hex(8)}:"
        command = f"sh -c {shlex.quote(self._command)} </dev/null; echo {end[:9]}''{end[9:]}$?"
        self._connection = self._device.open_shell(command, legacy=True)
        rest = b""
        while data := self._connection.conn.recv(_RECEIVE_BYTES):
            # A terminal ends its lines in two characters.
            whole = (rest + data).replace(b"\r\n", b"\n")
            rest = whole[-1:] if whole.endswith(b"\r") else b""
            # In one go: nobody is to see the marker among the lines.
            with self._changed:
                known = len(self._lines)
                self._accept(_STDOUT, whole.removesuffix(rest) if rest else whole)
                if self._find_status(end, known):
                    return
        raise EOFError

    def _find_status(self, end: str, known: int) -> bool:
        """Whether the status stands behind the marker `end`, in a line after the `known` ones.

        What comes behind it is of processes that the command has left behind.
        """
        for number, line in enumerate(self._lines[known:], known):
            before, marker, status = line.partition(end)
            if marker:
                del self._lines[number:]
                self._rest, self._status = before, int(status)
                return True
        return False

    def _accept(self, kind: int, data: bytes) -> None:
        whole: list[str] = []
        with self._changed:
            if kind in (_STDOUT, _STDERR):
                *whole, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
                self._lines += whole
            elif kind == _EXIT:
                self._status = data[0]
            self._changed.notify_all()
        for line in whole:
            self._on_line(line)


class Device:
    """The machine's Android side. Every wait ends with the session's first cause.

    `address` is where its adbd is; for an emulator it is adb's serial for it,
    `emulator-PORT`, and its adbd is at the port behind that one. `prelude` is
    put before every command. A device that takes more than `echo_seconds` to
    answer an echo is lost.
    """

    def __init__(
        self,
        server: AdbServer,
        address: str,
        health: Health,
        prelude: str = "",
        echo_seconds: float = _ECHO_SECONDS,
    ) -> None:
        self.health = health
        self.address = address
        self.server = server
        self.prelude = prelude
        self.echo_seconds = echo_seconds
        self._client = server.client()
        self._device = self._client.device(address)
        # Until the device tells: before API 24 adbd knew no other.
        self._legacy_shell = False

    def connect(self, timeout: float) -> None:
        """Connects the server to the device, and waits for a marker to come back.

        Raises DeviceError, or the session's first cause.
        """
        now = self.health.clock.now
        deadline = now() + timeout
        while not self._connected():
            if self.health.pause(_POLL_SECONDS) or now() > deadline:
                self.health.check()
                raise DeviceError(
                    f"adb did not reach the device within {timeout:g} s",
                    log=self.server.log,
                    tail=_tail(self.server.log.read_text()),
                )
        self._legacy_shell = _SHELL_V2 not in self._features()
        # In two halves, so that no echo of the command can be taken for its output.
        first, second = secrets.token_hex(8), secrets.token_hex(8)
        answer = self.shell(f"echo {first}''{second}", timeout=timeout).output.strip()
        if answer != first + second:
            raise DeviceError(f"the device's shell does not echo: {answer[:80]!r}")

    def shell(
        self, command: str, *, user: int | None = None, timeout: float = 30, check: bool = True
    ) -> ShellResult:
        """Runs `command` in a shell on the device, as root or as `user` (a uid), to its end.

        With `check` a status other than 0 raises DeviceError. `timeout` is in seconds.
        """
        running = self.start(command, user=user)
        try:
            result = running.wait(timeout)
        finally:
            running.close()
        if check and result.status != 0:
            raise DeviceError(
                f"on the device: {command!r} ended with status {result.status}",
                tail=_tail(result.output),
            )
        return result

    def start(
        self,
        command: str,
        *,
        user: int | None = None,
        on_line: Callable[[str], None] = lambda _: None,
        name: str = "",
    ) -> RunningCommand:
        """Starts `command` as `shell` does, and returns at once; `on_line` gets its lines.

        Errors call it `name`, or by its words.
        """
        self.health.check()
        whole = command if user is None else f"su {user} sh -c {shlex.quote(command)}"
        return RunningCommand(self, self.prelude + whole, name or command, on_line)

    def become_root(self, timeout: float) -> None:
        """Has adbd run as root. Raises DeviceError if it does not, at once if it never will."""
        if self.shell("id").output.startswith(_ROOT):
            return
        said = ""
        with suppress(adbutils.AdbError, OSError, EOFError):
            said = self._device.root()
        if _IS_ROOT in said:
            return
        deadline = self.health.clock.now() + timeout
        while _NEVER_ROOT not in said and self.health.clock.now() < deadline:
            self.health.pause(_POLL_SECONDS * 10)
            self.health.check()
            # For a second it is still the old adbd that answers, before it goes and
            # cuts every connection.
            if self._connected() and self._answers_as_root():
                return
        raise DeviceError(
            "the device's adbd does not run as root",
            tail=said.strip(),
            hint="an AVD with a system image without Google Play (default;armeabi-v7a)",
        )

    def push(self, local: Path, remote: str, mode: int = 0o755) -> None:
        """Copies the file `local` to the file `remote` on the device, with mode `mode`."""
        self.health.check()
        errors: list[Exception] = []
        done = threading.Event()

        def work() -> None:
            try:
                self._device.sync.push(local, remote, mode, check=True)
            except (adbutils.AdbError, OSError, EOFError, AssertionError) as error:
                errors.append(error)
            finally:
                done.set()

        # If it hangs, its thread ends with the server: adbutils has no time limit here.
        self.health.listen(done.set)
        threading.Thread(target=work, name="adb-push", daemon=True).start()
        in_time = done.wait(_PUSH_SECONDS)
        self.health.unlisten(done.set)
        self.health.check()
        if not in_time or errors:
            self.check_answers(f"push {remote}")
            why = f": {errors[0]}" if errors else f" within {_PUSH_SECONDS:g} s"
            raise DeviceError(f"cannot push {local.name} to {remote}{why}")
        # adbd gives group and others what the owner has.
        self.shell(f"chmod {mode:o} {shlex.quote(remote)}")

    def read_file(self, path: str) -> str:
        """The text of a file on the device, also of one in /proc or /sys."""
        return self.shell(f"cat {shlex.quote(path)}").output

    def write_file(self, path: str, text: str) -> None:
        """Writes `text` into a file on the device in one go, also in /proc or /sys."""
        # The shell's own word (mksh's) for it: an Android 5 has no printf.
        self.shell(f"print -rn -- {shlex.quote(text)} > {shlex.quote(path)}")

    def kernel_log(self) -> str:
        """The kernel's log, each line as `<level>[seconds] text`.

        By busybox: toybox reads /dev/kmsg, which escapes the records' tabs.
        """
        return self.shell("busybox dmesg -r").output

    def mark_kernel_log(self, text: str) -> None:
        """Puts a line of ours into the kernel's log."""
        self.write_file("/dev/kmsg", f"<5>{text}\n")

    @property
    def legacy_shell(self) -> bool:
        """Whether the device's adbd knows only the first shell protocol, without a status."""
        return self._legacy_shell

    def open_shell(self, command: str, *, legacy: bool = False) -> AdbConnection:
        """A connection to a shell that runs `command`, by protocol 2 or the first one."""
        # In which a guest has to answer, too.
        timeout = max(_OPEN_SECONDS, 2 * self.echo_seconds)
        connection = self._device.open_transport(timeout=timeout)
        try:
            connection.send_command(f"shell:{command}" if legacy else f"shell,v2,raw:{command}")
            connection.check_okay()
            connection.conn.settimeout(None)
            if not legacy:
                connection.conn.sendall(_HEADER.pack(_CLOSE_STDIN, 0))
        except BaseException:
            connection.close()
            raise
        return connection

    def check_answers(self, doing: str) -> None:
        """Raises DeviceError, which then is the first cause, if the guest answers nothing."""
        echo = RunningCommand(self, "echo", "echo")
        try:
            if echo.answered(self.echo_seconds):
                return
        finally:
            echo.close()
        self.health.check()
        self.health.fail(DeviceError(f"the guest does not answer any more (in {doing!r})"))
        self.health.check()

    def fail_lost(self, doing: str, why: str, tail: str) -> NoReturn:
        """Raises the first cause of a broken connection; it is that itself if there is none."""
        self.health.pause(_CAUSE_SECONDS if self.server.alive else _SERVER_CAUSE_SECONDS)
        server = "" if self.server.alive else "; adb's server has ended"
        message = f"the connection to the device broke in {doing!r}: {why}{server}"
        self.health.fail(DeviceError(message, tail=tail, log=self.server.log))
        self.health.check()
        raise AssertionError("unreachable: there is a first cause")

    def _features(self) -> set[str]:
        """What the device's adbd can do."""
        with suppress(adbutils.AdbError, OSError):
            return set(self._device.get_features().split(","))
        return set()

    def _answers_as_root(self) -> bool:
        """Whether adbd answers, and as root. A connection that breaks is no failure here."""
        asked = RunningCommand(self, f"{self.prelude}id", "id")
        try:
            return asked.answered(self.echo_seconds) and asked.output.startswith(_ROOT)
        finally:
            asked.close()

    def _connected(self) -> bool:
        emulator = _EMULATOR.fullmatch(self.address)
        try:
            if emulator is not None:
                return self._emulator_connected(int(emulator[1]) + 1)
            self._client.connect(self.address, timeout=_OPEN_SECONDS)
            if self._device.get_state() == "device":
                return True
            # A connection that was made before adbd listened never becomes one.
            self._client.disconnect(self.address)
        except (adbutils.AdbError, OSError):
            return False
        return False

    def _emulator_connected(self, port: int) -> bool:
        """Tells the server of the emulator, as that does itself when it is up."""
        with self._client.make_connection(_OPEN_SECONDS) as connection:
            # There is no answer.
            connection.send_command(f"host:emulator:{port}")
        return bool(self._device.get_state() == "device")


def _packet(connection: AdbConnection) -> tuple[int, bytes]:
    """One packet of the shell protocol: its kind and its data."""
    kind, length = _HEADER.unpack(connection.read_exact(_HEADER.size))
    return kind, connection.read_exact(length)


def _shown(wanted: str | re.Pattern[str]) -> str:
    return repr(wanted if isinstance(wanted, str) else wanted.pattern)


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-TAIL_LINES:])
