# SPDX-License-Identifier: MIT
"""A cluster of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import distributed

from harness.core.paths import REPO
from harness.core.ports import LOOPBACK
from harness.core.scratch import scratch
from harness.core.text import visible
from harness.sweep import work
from harness.sweep.address import Tls
from harness.sweep.cluster.connection import Cluster, connected
from harness.sweep.cluster.loop import ANSWER_SECONDS, Loop, quieten, security_of
from harness.sweep.cluster.serving import CLOSE_SECONDS

# How often, in seconds, the workers are looked at.
_WATCH_SECONDS = 0.5


def throwaway_tls(folder: Path) -> Tls:
    """Write files for a cluster of this machine alone: others on it could run code as this user."""
    made = distributed.Security.temporary()
    found = Tls(*(str(folder / f"{name}.pem") for name in ("ca", "cert", "key")))
    texts = (made.tls_ca_file, made.tls_client_cert, made.tls_client_key)
    for file, text in zip((found.ca, found.cert, found.key), texts, strict=True):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
    return found


class LocalCluster:
    """A scheduler in this process, and workers of this machine that come back if they are lost.

    `command` returns the command of a worker, from the scheduler's address and the worker's
    number, from 1. A worker ends when this process does, because its scheduler is gone then.
    """

    def __init__(self, command: Callable[[str, int], Sequence[str]], count: int) -> None:
        self._command, self._count = command, count
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        # How often a worker may end: more often is no accident.
        self._lives = 3 * count + 5
        self._stop = threading.Event()
        self._failed = ""

    def __enter__(self) -> Cluster:
        """Start the scheduler and the workers."""
        quieten()
        self._scratch = scratch("sweep")
        self._folder = self._scratch.__enter__()
        self._tls = throwaway_tls(self._folder)
        self._connection: Any = None
        self._loop = Loop()
        try:
            self._scheduler = self._loop.do(self._started(), ANSWER_SECONDS)
            self._connection = connected(self._scheduler.address, self._tls)
            cluster: Cluster = self._connection.__enter__()
            for number in range(1, self._count + 1):
                self._start(number)
            self._nurse = threading.Thread(target=self._nursing, daemon=True)
            self._nurse.start()
        except BaseException:
            self._close()
            raise
        return cluster

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self._close()

    @property
    def processes(self) -> Mapping[int, int]:
        """The process ids of the workers, by number."""
        return {number: one.pid for number, one in self._processes.items()}

    @property
    def failed(self) -> str:
        """Why no worker of this machine starts any more; empty if they do."""
        return self._failed

    async def _started(self) -> distributed.Scheduler:
        scheduler: distributed.Scheduler = await distributed.Scheduler(
            host=LOOPBACK,
            port=0,
            protocol="tls://",
            dashboard=False,
            security=security_of(self._tls),
            # An order whose worker was lost is not given to another one: the sweep decides.
            allowed_failures=0,
        )
        return scheduler

    def _said(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"

    def _start(self, number: int) -> None:
        with self._said(number).open("wb") as said:
            self._processes[number] = subprocess.Popen(
                self._command(self._scheduler.address, number),
                cwd=REPO,
                env={**os.environ, **self._tls.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                # Ctrl-C is for the sweep, which then stops its workers.
                start_new_session=True,
            )

    def _nursing(self) -> None:
        """Start a worker again that has ended."""
        while not self._stop.wait(_WATCH_SECONDS):
            for number, one in self._processes.items():
                if one.poll() is None or self._failed:
                    continue
                self._lives -= 1
                if self._lives > 0:
                    self._start(number)
                else:
                    said = self._said(number).read_text(errors="replace").split("\n")
                    self._failed = visible(said[0]) or "the workers end as soon as they start"

    def _close(self) -> None:
        self._stop.set()
        if hasattr(self, "_nurse"):
            self._nurse.join()
        # Closed first: workers stop what they do when the sweep has gone.
        if self._connection is not None:
            self._connection.__exit__(None, None, None)
        for one in self._processes.values():
            with suppress(ProcessLookupError):
                one.send_signal(signal.SIGTERM)
        for one in self._processes.values():
            try:
                one.wait(work.GRACE_SECONDS + CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                # The keepers of its commands see that it has gone.
                one.kill()
                one.wait()
        if hasattr(self, "_scheduler"):
            with suppress(TimeoutError):
                self._loop.do(self._scheduler.close(), ANSWER_SECONDS)
        self._loop.close()
        self._scratch.__exit__(None, None, None)
