# SPDX-License-Identifier: MIT
"""What a run of the fuzz test says at its end."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bundles
import pytest
from rich.console import Console

from harness.bundle import built
from harness.core.cache import Cache
from harness.jobs import fuzz, pool
from harness.jobs.options import FuzzOptions
from harness.machine import qemu
from harness.machine.adb import ShellResult
from harness.results.folder import ResultFolder
from harness.results.fuzz_result import FUZZ
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.progress import Reporter
from harness.ui.workspace import Workspace

AGAIN = "./inv fuzz --kernel linux-6.1 --emulator qemu"
HAND_ON = "to hand it on: ./inv bundle results/x"


def finished(folder: Path, problems: tuple[str, ...], failed: int | None) -> tuple[int, list[str]]:
    output = io.StringIO()
    ws = Workspace(Cache(folder / "cache"), Reporter(Console(file=output, width=300)))
    made = ResultFolder.create(folder, "linux-6.1", "fuzz", datetime(2026, 11, 22))
    run = fuzz.Fuzz(ws, FuzzOptions(target=LINUX_6_1, seed=7, rounds=9), 1, made)
    run.hand_on, run.rounds, run.problems, run.failed_seed = HAND_ON, 9, problems, failed
    status = fuzz.finish(run)
    assert json.loads((made.path / FUZZ).read_text())["problems"] == list(problems)
    return status, output.getvalue().splitlines()


def test_a_run_that_passes_is_not_to_be_handed_on(tmp_path: Path) -> None:
    status, said = finished(tmp_path, (), None)
    assert (status, said[-1]) == (0, "PASS: 9 rounds")
    assert HAND_ON not in said


@pytest.mark.parametrize(
    ("failed", "last"),
    [
        (12, f"FAIL: the round of seed 12; again: {AGAIN} --seed 12 --rounds 1"),
        (None, "FAIL: behind all rounds"),
    ],
)
def test_a_run_that_fails_can_be_repeated_and_handed_on(
    tmp_path: Path, failed: int | None, last: str
) -> None:
    status, said = finished(tmp_path, ("pid 5 died",), failed)
    assert (status, said[-2:]) == (1, [HAND_ON, last])


def test_what_is_booted_is_written_down_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "version", lambda _: "QEMU 7.2")
    ws = Workspace(Cache(tmp_path / "cache"))
    options = FuzzOptions(target=LINUX_6_1, seed=7, results=tmp_path / "results")
    run = fuzz.begin(ws, options)
    fuzz.note_built(run, bundles.KERNEL_FACTS, bundles.cached(ws.cache))
    found = built.read((run.folder.path / built.FILE).read_text())
    assert found.rounds is not None
    assert (found.rounds.seed, found.rounds.count, found.qemu) == (7, 0, "QEMU 7.2")
    assert run.hand_on == f"to hand it on: ./inv bundle {run.folder.path}"


class Sessions:
    """Guests that are not real: `problems` by seed; `together` of them have rounds at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
        self.problems: dict[int, tuple[str, ...]] = {}
        self.rounds: list[tuple[str, int]] = []
        self.failing: set[int] = set()
        self.leaks: tuple[str, ...] = ()
        self._barrier = threading.Barrier(together)
        self._first = iter(range(together))
        monkeypatch.setattr(pool, "open_session", self.open)
        monkeypatch.setattr(fuzz, "load_modules", lambda _: None)
        monkeypatch.setattr(fuzz, "_round", self.round)
        monkeypatch.setattr(fuzz, "_leaks", lambda _: self.leaks)
        monkeypatch.setattr(fuzz, "_forget_leaks", lambda _: self.forgot.append(True))
        self.forgot: list[bool] = []

    @contextmanager
    def open(self, _ws: object, _boot: object, folder: Path, **_options: object) -> Iterator[Any]:
        device = SimpleNamespace(shell=lambda *_, **__: ShellResult(1, ""))
        yield SimpleNamespace(device=device, name=folder.name)

    def round(
        self, session: Any, _results: object, seed: int, failing: int
    ) -> tuple[dict[str, int], tuple[str, ...]]:
        if next(self._first, None) is not None:
            self._barrier.wait(120)
        self.rounds.append((session.name, seed))
        self.failing.add(failing)
        return {"calls": 2}, self.problems.get(seed, ())


def shared(tmp_path: Path, rounds: int, guests: int, target: Target = LINUX_6_1) -> fuzz.Fuzz:
    ws = Workspace(Cache(tmp_path / "cache"), Reporter(Console(file=io.StringIO())))
    options = FuzzOptions(target=target, seed=7, rounds=rounds, results=tmp_path / "results")
    run = fuzz.begin(ws, options, guests)
    fuzz.perform_built(run, bundles.cached(ws.cache))
    return run


def test_guests_share_the_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch, 2)
    run = shared(tmp_path, 9, 2)
    assert sorted(seed for _, seed in sessions.rounds) == list(range(7, 16))
    assert len({name for name, _ in sessions.rounds}) == 2
    assert (run.rounds, run.counts["calls"], run.problems) == (9, 18, ())


def test_what_3_4_cannot_do_is_asked_of_6_1_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(monkeypatch, 1)
    shared(tmp_path / "6.1", 1, 1)
    assert 0 not in sessions.failing
    # There a leak of the boot counts, too.
    assert not sessions.forgot
    sessions.failing.clear()
    shared(tmp_path / "3.4", 1, 1, GOLDFISH_3_4)
    assert sessions.failing == {0}
    assert sessions.forgot


def test_a_round_that_fails_ends_those_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(monkeypatch, 2)
    sessions.problems[8] = ("pid 5 died",)
    sessions.leaks = ("unreferenced object",)
    run = shared(tmp_path, 100, 2)
    assert (run.failed_seed, run.problems) == (8, ("pid 5 died",))
    assert len(sessions.rounds) < 10


def test_leaks_of_any_guest_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch, 1)
    sessions.leaks = ("unreferenced object",)
    run = shared(tmp_path, 4, 2)
    assert (run.failed_seed, run.rounds) == (None, 4)
    assert set(run.problems) == {"unreferenced object"}


class Kmemleak:
    """A device whose kernel leaks `lost`; it reports what a scan has found."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.found: list[str] = []

    def shell(self, command: str, **_: object) -> ShellResult:
        words = command.split()
        if words[:2] == ["echo", "scan"]:
            self.found = list(self.lost)
        elif words[:2] == ["echo", "clear"]:
            self.lost = [one for one in self.lost if one not in self.found]
            self.found = []
        said = "".join(f"unreferenced object {one}\n  comm x\n" for one in self.found)
        return ShellResult(0, said if words[0] == "cat" else "")


def test_what_the_kernels_boot_has_leaked_is_no_leak_of_the_rounds() -> None:
    device = Kmemleak()
    session: Any = SimpleNamespace(device=device)
    device.lost = ["0xbf8c1dc0"]
    fuzz._forget_leaks(session)
    assert fuzz._leaks(session) == ()
    device.lost.append("0xbf170e00")
    assert fuzz._leaks(session) == ("unreferenced object 0xbf170e00",)
