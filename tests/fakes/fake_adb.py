# SPDX-License-Identifier: MIT
"""A fake adb server with one device, whose shells run on this machine."""

from __future__ import annotations

import os
import socketserver
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from stand_ins import script

from harness.machine.adb import AdbServer

STDOUT, EXIT = 1, 3
ROOT = "uid=0(root) gid=0(root)"


class KnownServer(AdbServer):
    """A server that somebody else has started, and that is alive, as the harness knows it."""

    def __init__(self, port: int = 0, log: Path = Path("adb.log")) -> None:
        self.port, self.log = port, log

    @property
    def alive(self) -> bool:
        return True


class FakeAdb(socketserver.ThreadingTCPServer):
    """The server: how it and its device behave, and the requests that they got."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Caller)
        self.log = folder / "adb.log"
        self.log.write_text("what adb's server says\n")
        self.port = int(self.server_address[1])
        self.asked: list[str] = []
        self.state = "device"
        # How many more times the device is offline when its state is asked.
        self.away = 0
        self.features = "shell_v2,cmd"
        # What adbd answers when it is asked to run as root, and whether it then does.
        self.root_answer = "restarting adbd as root\n"
        self.becomes_root = True
        # How many shells the old adbd still answers, and how many are cut when it ends.
        self.lingers = 0
        self.cuts = 0
        self._bin = folder / "bin"
        self._bin.mkdir()
        self.become("uid=2000(shell) gid=2000(shell)")

    def become(self, who: str) -> None:
        """Have `id` on the device print `who`."""
        self.program("id", f"echo '{who}'")

    def program(self, name: str, text: str) -> None:
        """Put a program on the device."""
        script(self._bin / name, text)

    def run(self, command: str) -> tuple[int, bytes]:
        """Run a command in a shell of the device; return its status and output."""
        path = f"{self._bin}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path},
            check=False,
        )
        return done.returncode, done.stdout

    def said_to_device(self, kind: str) -> list[str]:
        """Return the requests that begin with `kind`, without that prefix."""
        return [text.removeprefix(kind) for text in self.asked if text.startswith(kind)]


class _Caller(socketserver.BaseRequestHandler):
    """One connection: to the server, and through it to the device."""

    def handle(self) -> None:
        while request := self._request():
            if self._answer(request):
                return

    def _answer(self, request: str) -> bool:
        """Answer a request; return whether it was the last of its connection."""
        adb = self._adb
        adb.asked.append(request)
        kind, _, rest = request.partition(":")
        if request.startswith("host:tport:"):
            # The device's own requests follow.
            self.request.sendall(b"OKAY" + bytes(8))
            return False
        if request == "host:version":
            self._block("0029")
        elif request.endswith(":get-state"):
            adb.away -= 1
            self._block("offline" if adb.away >= 0 else adb.state)
        elif request.endswith(":features"):
            self._block(adb.features)
        elif request.startswith(("host:connect:", "host:disconnect:")):
            self._block("connected, or not any more")
        elif kind == "root":
            if adb.becomes_root and not adb.lingers:
                adb.become(ROOT)
            self.request.sendall(b"OKAY" + adb.root_answer.encode())
        elif kind.startswith("shell"):
            self._answer_shell(kind, rest)
        return True

    def _answer_shell(self, kind: str, command: str) -> None:
        if self._cut():
            self.request.sendall(b"OKAY")
        elif kind == "shell":
            _, output = self._adb.run(command)
            self.request.sendall(b"OKAY" + output.replace(b"\n", b"\r\n"))
        else:
            self._shell(command)

    def _cut(self) -> bool:
        """Return whether this shell is cut: adbd was asked to run as root, and restarts."""
        adb = self._adb
        if "root:" not in adb.asked:
            return False
        if adb.lingers:
            adb.lingers -= 1
            return False
        if adb.becomes_root:
            adb.become(ROOT)
        adb.cuts -= 1
        return adb.cuts >= 0

    def _shell(self, command: str) -> None:
        self.request.sendall(b"OKAY")
        # The packet that ends the input: if it were left unread, it would cut the answer short.
        self._read(5)
        status, output = self._adb.run(command)
        for kind, data in ((STDOUT, output), (EXIT, bytes([status & 0xFF]))):
            self.request.sendall(struct.pack("<BI", kind, len(data)) + data)

    @property
    def _adb(self) -> FakeAdb:
        assert isinstance(self.server, FakeAdb)
        return self.server

    def _block(self, text: str) -> None:
        self.request.sendall(f"OKAY{len(text):04x}{text}".encode())

    def _request(self) -> str:
        length = self._read(4)
        return self._read(int(length, 16)).decode() if length else ""

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more: bytes = self.request.recv(length - len(data))
            if not more:
                return b""
            data += more
        return data


@contextmanager
def fake_adb(folder: Path) -> Iterator[FakeAdb]:
    """Run the server, while the context lasts."""
    with FakeAdb(folder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
