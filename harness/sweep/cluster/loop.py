# SPDX-License-Identifier: MIT
"""What all sides of a cluster share: an event loop, encryption, and silence."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from collections.abc import Coroutine
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeVar

import dask
import distributed

from harness.core.errors import InfrastructureError
from harness.sweep.address import Tls

T = TypeVar("T")

# How long, in seconds, a scheduler is waited for, and an answer of one that is there.
PATIENCE_SECONDS = 20.0
ANSWER_SECONDS = 30.0
_LOGGERS = ("asyncio", "bokeh", "dask", "distributed", "distributed.client", "distributed.gc")


def security_of(tls: Tls) -> distributed.Security | None:
    """Return what dask needs for these files; None without them."""
    if not tls.ca:
        return None
    roles = ("client", "scheduler", "worker")
    return distributed.Security(
        require_encryption=True,
        tls_ca_file=tls.ca,
        **{f"tls_{role}_cert": tls.cert for role in roles},
        **{f"tls_{role}_key": tls.key for role in roles},
    )


def quieten() -> None:
    """Keep what dask logs and warns of from the terminal: what matters is told by the sweep."""
    for name in (*_LOGGERS, "tornado", "tornado.application"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"(dask|distributed|tornado)\b")
    dask.config.set({"distributed.admin.system-monitor.interval": "10s"})


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, work: Coroutine[Any, Any, T]) -> ThreadFuture[T]:
        """Begin a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def do(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine, and return its result; TimeoutError if it takes too long."""
        started = self.start(work)
        try:
            return started.result(timeout)
        except BaseException:
            started.cancel()
            raise

    def close(self) -> None:
        """End the loop; what still runs in it is given up."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(ANSWER_SECONDS)


def no_scheduler(address: str) -> InfrastructureError:
    """Return the error for a scheduler that cannot be reached."""
    return InfrastructureError(
        f"no scheduler answers at {address}", hint="is `dask scheduler` running there?"
    )
