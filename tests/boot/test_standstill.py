# SPDX-License-Identifier: MIT
"""A host that stands still for half a minute in the middle of a run: the run still has a verdict.

QEMU alone is stopped, the harness alone (as by Ctrl-Z: QEMU is in a process group of its own), or
both, as if the container were paused.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.core.paths import REPO

# Longer than adb's patience, and than a kernel's with a CPU that does not schedule.
STILL_SECONDS = 30.0
SCENARIOS = ("many-small", "course", "report")


class Stopped:
    """A run of emulator-test that is stopped for a while when it begins a scenario."""

    def __init__(self, *whom: str, patch: Path | None = None) -> None:
        words = [word for name in SCENARIOS for word in ("--scenario", name)]
        words += ["--patch", str(patch)] if patch else []
        self.process = subprocess.Popen(
            [sys.executable, "inv_program.py", "--json", "emulator-test", *words],
            cwd=REPO,
            env={**os.environ, "INVOKE_GOLDFISH_OOM_CACHE_GIB": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.events: list[dict[str, Any]] = []
        try:
            self._read(whom)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _read(self, whom: tuple[str, ...]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line) if line.startswith("{") else {"line": line})
            begun = [one.get("scenario") for one in self.events if "title" in one]
            if whom and begun and begun[-1] == SCENARIOS[0]:
                self._stand_still(whom)
                whom = ()
        self.process.wait(600)

    def _stand_still(self, whom: tuple[str, ...]) -> None:
        family = psutil.Process(self.process.pid).children(recursive=True)
        machines = [one for one in family if one.name().startswith("qemu")]
        assert len(machines) == 1
        if "qemu" in whom:
            machines[0].suspend()
        if "harness" in whom:
            os.killpg(self.process.pid, signal.SIGSTOP)
        time.sleep(STILL_SECONDS)
        os.killpg(self.process.pid, signal.SIGCONT)
        machines[0].resume()

    @property
    def verdict(self) -> Any:
        folder = next(one["results"] for one in reversed(self.events) if one.get("results"))
        return json.loads((Path(folder) / "verdict.json").read_text())


@pytest.mark.parametrize("whom", [("qemu",), ("harness",), ("qemu", "harness")], ids="-".join)
def test_a_host_that_stands_still(whom: tuple[str, ...]) -> None:
    run = Stopped(*whom)
    assert run.process.returncode == 0, run.events[-20:]
    judged = [one for one in run.verdict["scenarios"] if one["policy"]]
    assert sorted(one["scenario"] for one in judged) == sorted(SCENARIOS)
    noticed = [one for one in judged if one["stood_still"] > STILL_SECONDS - 5 or one["set_aside"]]
    assert len(noticed) == 1
    said = [one["text"] for one in run.events if "the host stood still for" in one.get("text", "")]
    assert any(line.startswith(noticed[0]["scenario"]) for line in said)


def test_a_wrong_kernel_is_not_excused() -> None:
    """It may have another attempt at the scenario, and does the same again."""
    run = Stopped("qemu", patch=Path(__file__).with_name("faults") / "limit-ignored.patch")
    assert run.process.returncode == 1, run.events[-20:]
    found = {one["scenario"]: one for one in run.verdict["scenarios"]}
    assert found[SCENARIOS[0]]["outcome"] == "NOT_KILLED"
