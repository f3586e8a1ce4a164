# SPDX-License-Identifier: MIT
"""The device as seen over adb; only this module uses adbutils.

The harness starts an adb server of its own, with its own port and home folder. It never
contacts, starts or ends the user's server.
"""

from __future__ import annotations

import codecs
import re
import secrets
import select
import shlex
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
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
from harness.core.process import RunOptions, end_group, require, run
from harness.core.text import last_lines

_ADB = "adb"
# Below its home.
_KEY_FOLDER, _KEY = ".android", "adbkey"
# The start includes generating the server's key: 0.2 s, on a loaded host several seconds.
_SERVER_SECONDS = 60.0
_POLL_SECONDS = 0.05
# How long opening a connection to the device, through the server, may take.
_OPEN_SECONDS = 30.0
# When a connection breaks, the console may show the reason a moment later, on a busy host
# much later. If the adb server ended, the console shows no reason.
_CAUSE_SECONDS, _SERVER_CAUSE_SECONDS = 15.0, 1.5
# A guest that does not answer an echo for this long is not just busy; a board may set more.
_ECHO_SECONDS = 20.0
_PUSH_SECONDS = 300.0
_SHELL_V2 = "shell_v2"
# The beginning of `id`'s output for root.
_ROOT = "uid=0("
# adbd's answers to the request to run as root.
_IS_ROOT, _NEVER_ROOT = "already running as root", "cannot run as root"
_EMULATOR = re.compile(r"emulator-(\d+)")
_RECEIVE_BYTES = 1 << 16
# The shell protocol's packets (adb's docs call it "shell,v2"): kind, length.
_HEADER = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 0, 1, 2, 3, 4
# The kept shell: a loop that reads a marker, a number of bytes and so much of a script. It has the
# script done by a process of its own, and prints the marker and the status. To fork this shell
# takes a few milliseconds, and a command by adbd, which starts `sh`, ten times as long.
_STATIC_SHELL = "/system/bin/mksh-static"
_KEEP = (
    'while IFS= read -r end && IFS= read -r size && IFS= read -r -N "$size" text; do'
    ' (eval "$text") </dev/null 2>&1; print -r -- "$end$?"; done'
)


@dataclass(frozen=True)
class ShellResult:
    """The result of a command: its exit status, and its stdout and stderr together."""

    status: int
    output: str


class _Connection(AdbConnection):  # type: ignore[misc]  # adbutils has no types
    """A connection that fails where adbutils would start the user's adb server."""

    def _safe_connect(self) -> object:
        return self._create_socket()


class _Client(adbutils.AdbClient):  # type: ignore[misc]  # adbutils has no types
    """adbutils' client, which uses such connections."""

    def make_connection(self, timeout: float | None = None) -> AdbConnection:
        connection = _Connection(self.host, self.port)
        connection.conn.settimeout(timeout)
        return connection


def make_key(folder: Path) -> None:
    """Make a key for servers in an empty folder: `adbkey` and `adbkey.pub`."""
    home = {"HOME": str(folder)}
    run([_ADB, "keygen", str(folder / _KEY)], RunOptions(env=home), what="adb keygen")


class AdbServer:
    """An adb server of the harness. `scratch` becomes its home, `log` gets its output.

    With `keys`, a folder that make_key() has filled, it needs not make a key of its own.

    Raises DeviceError if it does not come up, ToolMissingError without adb.
    """

    def __init__(self, scratch: Path, log: Path, keys: Path | None = None) -> None:
        require(_ADB, "setpriv")
        self.log = log
        if keys is not None:
            (scratch / _KEY_FOLDER).mkdir(mode=0o700, exist_ok=True)
            # Without them it makes its own.
            with suppress(OSError):
                for name in (f"{_KEY}.pub", _KEY):
                    shutil.copy(keys / name, scratch / _KEY_FOLDER)
        for _ in range(PORT_ATTEMPTS):
            self.port = free_port()
            self._process = self._start(scratch)
            with ExitStack() as stack:
                stack.callback(self.close)
                if self._comes_up():
                    stack.pop_all()
                    return
        raise DeviceError("adb's server does not start", log=log, tail=last_lines(log.read_text()))

    def client(self) -> adbutils.AdbClient:
        """Return a client of this server."""
        return _Client(LOOPBACK, self.port)

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._process.poll() is None

    def environment(self) -> dict[str, str]:
        """Build the environment in which the stock adb program talks to this server."""
        return environment_of(_ADB, {"ANDROID_ADB_SERVER_PORT": str(self.port)})

    def close(self) -> None:
        """End the server."""
        end_group(self._process)

    def _start(self, scratch: Path) -> subprocess.Popen[bytes]:
        # Do not use the user's keys and settings.
        homes = ("HOME", "ANDROID_USER_HOME", "ANDROID_SDK_HOME", "TMPDIR")
        ours = {
            **dict.fromkeys(homes, str(scratch)),
            # Search neither for emulators (ports up to this one), nor on USB or the network.
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
        """Wait until it listens; return False if it ends, as when its port is in use."""
        deadline = time.monotonic() + _SERVER_SECONDS
        while self.alive and time.monotonic() < deadline:
            if self._listens():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _listens(self) -> bool:
        """Return whether our process has the port. A connection could reach another server."""
        try:
            sockets = psutil.Process(self._process.pid).net_connections(kind="tcp")
        except psutil.Error:
            return False
        return any(s.status == psutil.CONN_LISTEN and s.laddr[1] == self.port for s in sockets)


class RunningCommand:
    """A command on the device; a thread collects its output as it comes.

    Its stdin is empty; stdout and stderr are merged. The thread calls `on_line` with each
    complete line. Timeouts count only seconds in which the machine had a CPU: see
    MachineClock.
    """

    def __init__(
        self,
        device: Device,
        command: str,
        name: str,
        on_line: Callable[[str], None] = lambda _: None,
        kept: bool = False,
    ) -> None:
        self.name = name
        self._kept = kept
        self._on_line = on_line
        self._device = device
        self._command = command
        self._changed = threading.Condition()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._lines: list[str] = []
        self._rest = ""
        self._status: int | None = None
        self._lost: str | None = None
        # How many lines are consumed: all up to the one that wait_line returned last.
        self._passed = 0
        self._connection: AdbConnection | None = None
        self._closed = False
        device.health.listen(self._wake)
        threading.Thread(target=self._collect, name="adb-command", daemon=True).start()

    @property
    def output(self) -> str:
        """All output so far."""
        with self._changed:
            return "".join(f"{line}\n" for line in self._lines) + self._rest

    @property
    def ended(self) -> bool:
        """Whether the command or the connection to it has ended."""
        return self._status is not None or self._lost is not None

    def wait_line(self, wanted: str | re.Pattern[str], timeout: float) -> str:
        """Return the next line that begins with or matches `wanted`, after the last one returned.

        Raises DeviceError if the command ends without such a line, or none comes within
        `timeout` seconds; the session's first cause if there is one.
        """
        found: list[str] = []

        def look() -> bool:
            line = self._next(wanted)
            if line is not None:
                found.append(line)
            return line is not None or self.ended

        done = self._wait(look, timeout)
        if found:
            return found[0]
        missing = f"no line like {(wanted if isinstance(wanted, str) else wanted.pattern)!r}"
        self._check(done, timeout, missing)
        raise DeviceError(
            f"{self.name!r} ended with status {self._status} and {missing}",
            tail=last_lines(self.output),
        )

    def wait(self, timeout: float) -> ShellResult:
        """Wait for its end and return its result.

        Raises DeviceError after `timeout` seconds, or the session's first cause.
        """
        done = self._wait(lambda: self.ended, timeout)
        self._check(done, timeout, "it has not ended")
        assert self._status is not None
        return ShellResult(self._status, self.output)

    def answered(self, timeout: float) -> bool:
        """Return whether it ends by itself within `timeout` seconds. Raises nothing."""
        self._wait(lambda: self.ended, timeout)
        return self._status is not None

    def close(self) -> None:
        """Stop reading its output. On the device it gets SIGPIPE if it goes on writing."""
        self._device.health.unlisten(self._wake)
        self._closed = True
        connection = self._connection
        if connection is not None and not connection.closed:
            # This wakes the thread, which then closes the connection.
            with suppress(OSError, adbutils.AdbError):
                connection.conn.shutdown(socket.SHUT_RDWR)

    def _next(self, wanted: str | re.Pattern[str]) -> str | None:
        """Return the next wanted line; consume it and all lines before it."""
        lines = [*self._lines[self._passed :], *([self._rest] if self.ended else [])]
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
                # The machine's clock may stand still during the wait.
                self._changed.wait(left)
            return done

    def _check(self, done: bool, timeout: float, missing: str) -> None:
        """Raise an error if the wait is not `done`, or if the connection was lost."""
        if not done:
            self._device.health.check()
            self._device.check_answers(self.name)
            raise DeviceError(
                f"{self.name!r}: {missing} within {timeout:g} s", tail=last_lines(self.output)
            )
        if self._lost is not None:
            self._device.fail_lost(self.name, self._lost, last_lines(self.output))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _collect(self) -> None:
        """Run the thread: open the shell and read it to its last packet."""
        lost = "the connection ended"
        try:
            if self._device.legacy_shell:
                self._collect_legacy()
            elif self._kept:
                self._collect_kept()
            else:
                connection = self._open(self._command)
                while self._status is None:
                    kind, length = _HEADER.unpack(connection.read_exact(_HEADER.size))
                    self._accept(kind, connection.read_exact(length))
        except (adbutils.AdbError, OSError, EOFError) as error:
            lost = str(error) or lost
        finally:
            with self._changed:
                if self._status is None:
                    self._lost = lost
                self._changed.notify_all()
            if self._connection is not None:
                self._connection.close()

    def _open(self, command: str) -> AdbConnection:
        """Open the shell; raise EOFError if nobody wants its output any more."""
        self._connection = connection = self._device.open_shell(command)
        if self._closed:
            raise EOFError
        return connection

    def _collect_kept(self) -> None:
        """Collect what the kept shell prints, up to the marker and the status."""
        with self._device.kept_shell() as connection:
            self._connection = connection
            if self._closed:
                raise EOFError
            end, text = _marker(), self._command.encode()
            data = f"{end}\n{len(text)}\n".encode() + text
            connection.conn.sendall(_HEADER.pack(_STDIN, len(data)) + data)
            while True:
                kind, length = _HEADER.unpack(connection.read_exact(_HEADER.size))
                data = connection.read_exact(length)
                if kind == _EXIT:
                    raise EOFError("the kept shell ended")
                # Under one lock: when the status is known, the connection is no longer ours.
                with self._changed:
                    known = len(self._lines)
                    self._accept(kind, data)
                    if self._find_status(end, known):
                        self._connection = None
                        return

    def _collect_legacy(self) -> None:
        """Collect by the first shell protocol: a terminal's output, then a marker and the status.

        The command runs in a shell of its own, so that its `exit` ends only that shell.
        """
        end = _marker()
        command = f"sh -c {shlex.quote(self._command)} </dev/null; echo {end[:9]}''{end[9:]}$?"
        connection = self._open(command)
        rest = b""
        while data := connection.conn.recv(_RECEIVE_BYTES):
            # A terminal ends its lines with CR LF.
            whole = (rest + data).replace(b"\r\n", b"\n")
            rest = whole[-1:] if whole.endswith(b"\r") else b""
            # Under one lock: no reader may see the marker among the lines.
            with self._changed:
                known = len(self._lines)
                self._accept(_STDOUT, whole.removesuffix(rest) if rest else whole)
                if self._find_status(end, known):
                    return
        raise EOFError

    def _find_status(self, end: str, known: int) -> bool:
        """Find the status behind the marker `end`, after the first `known` lines; store it.

        Return whether it is there. The output behind it is dropped: it comes from processes
        that the command left running.
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


def _is_readable(connection: socket.socket) -> bool:
    """Return whether there is something to read, which may be the end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _marker() -> str:
    """Return a fresh marker, which comes before a command's status."""
    return f"gfoom-{secrets.token_hex(8)}:"


class Device:
    """The machine's Android side. The session's first cause ends every wait.

    `address` is the address of its adbd; for an emulator it is adb's serial,
    `emulator-PORT`, and adbd listens at PORT + 1. `prelude` is put before every
    command. A device that takes more than `echo_seconds` to answer an echo is lost.
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
        # Whether adbd knows only the first shell protocol, which reports no exit status. It is so
        # before API 24; connect() finds it out.
        self.legacy_shell = False
        # The connection to the kept shell, if there is one; whoever uses it holds the lock.
        self._kept: AdbConnection | None = None
        self._kept_lock = threading.Lock()

    def connect(self, timeout: float) -> None:
        """Connect the server to the device, and wait until its shell echoes a marker.

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
                    tail=last_lines(self.server.log.read_text()),
                )
        self.legacy_shell = _SHELL_V2 not in self._features()
        # In two halves, so that an echo of the command cannot be taken for its output.
        first, second = secrets.token_hex(8), secrets.token_hex(8)
        answer = self.shell(f"echo {first}''{second}", timeout=timeout).output.strip()
        if answer != first + second:
            raise DeviceError(f"the device's shell does not echo: {answer[:80]!r}")

    def shell(
        self,
        command: str,
        *,
        user: int | None = None,
        timeout: float = 30,
        check: bool = True,
        kept: bool = False,
    ) -> ShellResult:
        """Run `command` in a shell on the device, as root or as `user` (a uid), to its end.

        With `check` a status other than 0 raises DeviceError. `timeout` is in seconds. For `kept`
        see start().
        """
        with closing(self.start(command, user=user, kept=kept)) as running:
            result = running.wait(timeout)
        if check and result.status != 0:
            raise DeviceError(
                f"on the device: {command!r} ended with status {result.status}",
                tail=last_lines(result.output),
            )
        return result

    def start(
        self,
        command: str,
        *,
        user: int | None = None,
        on_line: Callable[[str], None] = lambda _: None,
        name: str = "",
        kept: bool = False,
    ) -> RunningCommand:
        """Start `command` as `shell` does, and return at once; `on_line` gets its lines.

        Error messages show `name`, or the command if it is empty. With `kept` the command is done
        in a shell that is kept for further commands, which takes less time: one command after the
        other, none of which may leave a process that goes on printing. A command that is given up
        takes that shell with it. An adbd that knows only the first shell protocol keeps none.
        """
        self.health.check()
        whole = command if user is None else f"su {user} sh -c {shlex.quote(command)}"
        return RunningCommand(self, self.prelude + whole, name or command, on_line, kept)

    @contextmanager
    def kept_shell(self) -> Iterator[AdbConnection]:
        """Yield the connection to the kept shell, a new one if need be; an error closes it."""
        with self._kept_lock:
            connection, self._kept = self._kept, None
            # It says nothing by itself: it has ended, or a process that was left behind prints.
            if connection is not None and _is_readable(connection.conn):
                connection.close()
                connection = None
            if connection is None:
                static = f"[ -x {_STATIC_SHELL} ] && exec {_STATIC_SHELL} -c {shlex.quote(_KEEP)}"
                connection = self.open_shell(f"{static}; {_KEEP}", keeps_input=True)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._kept = connection

    def become_root(self, timeout: float) -> None:
        """Make adbd run as root. Raises DeviceError if it does not, at once if it refuses."""
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
            # For a second the old adbd still answers; then it exits, which breaks every
            # connection.
            if self._connected() and self._answers_as_root():
                return
        raise DeviceError(
            "the device's adbd does not run as root",
            tail=said.strip(),
            hint="an AVD with a system image without Google Play (default;armeabi-v7a)",
        )

    def push(self, local: Path, remote: str, mode: int = 0o755) -> None:
        """Copy the file `local` to the file `remote` on the device, with mode `mode`."""
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

        # If the push hangs, its thread ends with the server: adbutils has no time limit here.
        self.health.listen(done.set)
        threading.Thread(target=work, name="adb-push", daemon=True).start()
        in_time = done.wait(_PUSH_SECONDS)
        self.health.unlisten(done.set)
        self.health.check()
        if not in_time or errors:
            self.check_answers(f"push {remote}")
            why = f": {errors[0]}" if errors else f" within {_PUSH_SECONDS:g} s"
            raise DeviceError(f"cannot push {local.name} to {remote}{why}")
        # adbd gives group and others the owner's permissions.
        self.shell(f"chmod {mode:o} {shlex.quote(remote)}")

    def read_file(self, path: str) -> str:
        """Return the text of a file on the device, also of one in /proc or /sys."""
        return self.shell(f"cat {shlex.quote(path)}").output

    def write_file(self, path: str, text: str) -> None:
        """Write `text` to a file on the device at once, also to one in /proc or /sys."""
        # A builtin of mksh: Android 5 has no printf.
        self.shell(f"print -rn -- {shlex.quote(text)} > {shlex.quote(path)}")

    def kernel_log(self) -> str:
        """Return the kernel log, each line as `<level>[seconds] text`.

        Uses busybox: toybox reads /dev/kmsg, which escapes the tabs of kill records.
        """
        return self.shell("busybox dmesg -r", kept=True).output

    def mark_kernel_log(self, text: str) -> None:
        """Write a line to the kernel log."""
        self.write_file("/dev/kmsg", f"<5>{text}\n")

    def open_shell(self, command: str, *, keeps_input: bool = False) -> AdbConnection:
        """Open a shell that runs `command`, by the newest protocol that adbd knows.

        Its standard input is empty, or with `keeps_input` stays open, by the newer protocol.

        It takes as long as the guest needs to answer. Time limits are those of whoever waits for
        the command, by the machine's clock: a socket's would go on while the host stands still.
        """
        connection = self._device.open_transport(timeout=None)
        try:
            service = "shell" if self.legacy_shell else "shell,v2,raw"
            connection.send_command(f"{service}:{command}")
            connection.check_okay()
            connection.conn.settimeout(None)
            if not (self.legacy_shell or keeps_input):
                connection.conn.sendall(_HEADER.pack(_CLOSE_STDIN, 0))
        except BaseException:
            connection.close()
            raise
        return connection

    def check_answers(self, doing: str) -> None:
        """Raise DeviceError, which becomes the first cause, if the guest answers no echo."""
        with closing(RunningCommand(self, "echo", "echo")) as echo:
            if echo.answered(self.echo_seconds):
                return
        self.health.check()
        self.health.fail(DeviceError(f"the guest does not answer any more (in {doing!r})"))
        self.health.check()

    def fail_lost(self, doing: str, why: str, tail: str) -> NoReturn:
        """Raise the first cause; if there is none yet, the broken connection becomes it."""
        self.health.pause(_CAUSE_SECONDS if self.server.alive else _SERVER_CAUSE_SECONDS)
        server = "" if self.server.alive else "; adb's server has ended"
        message = f"the connection to the device broke in {doing!r}: {why}{server}"
        self.health.fail(DeviceError(message, tail=tail, log=self.server.log))
        self.health.check()
        raise AssertionError("unreachable: there is a first cause")

    def _features(self) -> set[str]:
        """Return the features of the device's adbd; none if the server cannot tell."""
        with suppress(adbutils.AdbError, OSError):
            return set(self._device.get_features().split(","))
        return set()

    def _answers_as_root(self) -> bool:
        """Return whether adbd answers as root. A broken connection is no failure here."""
        with closing(RunningCommand(self, f"{self.prelude}id", "id")) as asked:
            return asked.answered(self.echo_seconds) and asked.output.startswith(_ROOT)

    def _connected(self) -> bool:
        """Tell the server of the device; return whether the device is there."""
        emulator = _EMULATOR.fullmatch(self.address)
        try:
            if emulator is None:
                self._client.connect(self.address, timeout=_OPEN_SECONDS)
            else:
                # As an emulator does itself when it is up. The server does not answer this.
                with self._client.make_connection(_OPEN_SECONDS) as connection:
                    connection.send_command(f"host:emulator:{int(emulator[1]) + 1}")
            there = bool(self._device.get_state() == "device")
            if not there and emulator is None:
                # A connection that was made before adbd listened never comes up.
                self._client.disconnect(self.address)
        except (adbutils.AdbError, OSError):
            return False
        return there
