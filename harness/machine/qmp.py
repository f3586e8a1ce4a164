# SPDX-License-Identifier: MIT
"""QEMU's control connection (QMP), for synchronous callers.

The library qemu.qmp is asynchronous: its event loop runs in a thread of its own here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError

from harness.core.errors import DeviceError
from harness.core.lifetime import Health

# qemu.qmp logs the errors that it raises; without a handler Python would print them.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())

# When the connection breaks, the console may show the reason a moment later.
_CAUSE_SECONDS = 5.0


class Qmp:
    """The connection: listens at the socket `path`, to which QEMU connects when it starts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._client = QMPClient("machine")
        self._connected = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.setblocking(False)
        self._thread.start()

    def accept(self, timeout: float, health: Health) -> None:
        """Wait for QEMU's greeting, which it sends when it is set up.

        Raises DeviceError after `timeout` seconds, the session's first cause as soon as
        there is one.
        """
        future = asyncio.run_coroutine_threadsafe(self._accept(), self._loop)

        def give_up() -> None:
            future.cancel()

        health.listen(give_up)
        try:
            future.result(timeout)
            self._connected = True
        except (QMPError, OSError, EOFError, TimeoutError, CancelledError) as error:
            # If QEMU has ended, the reason for that says more than the broken connection.
            health.pause(_CAUSE_SECONDS)
            health.check()
            raise DeviceError(f"QEMU did not connect to its control socket: {error!r}") from error
        finally:
            future.cancel()
            health.unlisten(give_up)

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, timeout: float = 60.0
    ) -> object:
        """Run a QMP command and return its answer. `timeout` is in seconds."""
        return self._run(self._client.execute(command, arguments), timeout, command)

    def close(self) -> None:
        """End the connection and its thread."""
        try:
            if self._connected:
                # QEMU may have closed the connection already, with the same result.
                with suppress(DeviceError):
                    self._run(self._client.disconnect(), _CAUSE_SECONDS, "disconnect")
        finally:
            self._listener.close()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CAUSE_SECONDS)
            if not self._thread.is_alive():
                self._loop.close()

    async def _accept(self) -> None:
        connection, _ = await self._loop.sock_accept(self._listener)
        await self._client.connect(connection)

    def _run(self, work: Coroutine[Any, Any, object], timeout: float, what: str) -> object:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except (QMPError, OSError, EOFError) as error:
            raise DeviceError(f"QEMU's control connection: {what}: {error}") from error
        except TimeoutError as error:
            raise DeviceError(f"QEMU did not answer {what!r} within {timeout:g} s") from error
        finally:
            future.cancel()
