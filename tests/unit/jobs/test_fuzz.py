# SPDX-License-Identifier: MIT
"""What a run of the fuzz test says at its end."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path

import bundles
import pytest
from fake_guest import QEMU, FakeGuests, together
from stand_ins import workspace

from harness.bundle import built
from harness.core.errors import InfrastructureError
from harness.jobs import fuzz
from harness.jobs.options import FuzzOptions
from harness.results.folder import ResultFolder
from harness.results.fuzz_result import FUZZ
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.workspace import Workspace

AGAIN = "./inv fuzz --kernel linux-6.1 --emulator qemu"
# On a busy host a guest does many rounds before it hears of another one's failure.
MANY = 1_000_000
HAND_ON = "to hand it on: ./inv bundle results/x"


def finished(folder: Path, problems: tuple[str, ...], failed: int | None) -> tuple[int, list[str]]:
    output = io.StringIO()
    ws = workspace(folder / "cache", output)
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


@pytest.mark.usefixtures("guests")
def test_what_is_booted_is_written_down_before(ws: Workspace, tmp_path: Path) -> None:
    options = FuzzOptions(target=LINUX_6_1, seed=7, results=tmp_path / "results")
    run = fuzz.begin(ws, options)
    fuzz.note_built(run, bundles.KERNEL_FACTS, bundles.cached(ws.cache))
    found = built.read((run.folder.path / built.FILE).read_text())
    assert found.rounds is not None
    assert (found.rounds.seed, found.rounds.count, found.qemu) == (7, 0, QEMU)
    assert run.hand_on == f"to hand it on: ./inv bundle {run.folder.path}"


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGuests:
    return FakeGuests(monkeypatch, tmp_path / "tools")


def shared(tmp_path: Path, rounds: int, guests: int, target: Target = LINUX_6_1) -> fuzz.Fuzz:
    ws = workspace(tmp_path / "cache")
    options = FuzzOptions(target=target, seed=7, rounds=rounds, results=tmp_path / "results")
    run = fuzz.begin(ws, options, guests)
    fuzz.perform_built(run, bundles.cached(ws.cache))
    return run


def test_guests_share_the_rounds(guests: FakeGuests, tmp_path: Path) -> None:
    guests.begin_round = together(2)
    run = shared(tmp_path, 9, 2)
    assert sorted(one.seed for one in guests.rounds) == list(range(7, 16))
    assert len({one.guest for one in guests.rounds}) == 2
    assert (run.rounds, run.counts["calls"], run.problems) == (9, 18, ())


def test_allocations_fail_where_the_kernel_can_do_that(guests: FakeGuests, tmp_path: Path) -> None:
    shared(tmp_path / "6.1", 1, 1)
    shared(tmp_path / "3.4", 1, 1, GOLDFISH_3_4)
    assert [bool(one.failing) for one in guests.rounds] == [True, False]


@pytest.mark.parametrize(("target", "counts"), [(LINUX_6_1, True), (GOLDFISH_3_4, False)])
def test_a_leak_of_the_boot_counts_except_where_the_target_says_so(
    guests: FakeGuests, tmp_path: Path, target: Target, counts: bool
) -> None:
    guests.lost = ["0xbf8c1dc0"]

    def leak() -> None:
        assert guests.lost is not None
        guests.lost.append("0xbf170e00")

    guests.begin_round = leak
    run = shared(tmp_path, 1, 1, target)
    boots = ["unreferenced object 0xbf8c1dc0"] if counts else []
    assert run.problems == (*boots, "unreferenced object 0xbf170e00")


def test_a_round_that_fails_ends_those_of_all(guests: FakeGuests, tmp_path: Path) -> None:
    guests.begin_round = together(2)
    guests.deaths[8] = [5]
    guests.lost = ["0xbf8c1dc0"]
    run = shared(tmp_path, MANY, 2)
    assert run.failed_seed == 8
    assert run.problems == ("pid 5 (uid 10070) was killed without a record",)
    assert len(guests.rounds) < MANY


# --- a host that stands still ---------------------------------------------------


def test_a_round_that_failed_by_the_clock_is_done_again(guests: FakeGuests, tmp_path: Path) -> None:
    guests.stood_still = 30.0

    def fail_once() -> None:
        guests.above = {8} - {one.seed for one in guests.rounds}

    guests.begin_round = fail_once
    run = shared(tmp_path, 3, 1)
    assert [one.seed for one in guests.rounds] == [7, 8, 8, 9]
    assert (run.problems, run.rounds, run.counts["calls"]) == ((), 3, 6)
    assert len(guests.opened) == 2
    assert (run.folder.path / "kernel.stood-still-1.log").is_file()


def test_a_host_that_always_stands_still_gives_no_verdict(
    guests: FakeGuests, tmp_path: Path
) -> None:
    guests.stood_still, guests.above = 30.0, {8}
    with pytest.raises(InfrastructureError, match="no verdict on the round of seed 8") as caught:
        shared(tmp_path, 100, 1)
    assert [one.seed for one in guests.rounds] == [7, 8, 8, 8]
    assert "--seed 8 --rounds 1" in caught.value.hint


@pytest.mark.parametrize(("still", "deaths"), [(0.5, []), (30.0, [5])])
def test_what_no_standstill_explains_fails_at_once(
    guests: FakeGuests, tmp_path: Path, still: float, deaths: list[int]
) -> None:
    guests.stood_still, guests.above = still, {8}
    guests.deaths[8] = deaths
    run = shared(tmp_path, 100, 1)
    assert run.failed_seed == 8
    assert [one.seed for one in guests.rounds] == [7, 8]


def test_leaks_of_any_guest_fail(guests: FakeGuests, tmp_path: Path) -> None:
    guests.lost = ["0xbf8c1dc0"]
    run = shared(tmp_path, 4, 2)
    assert (run.failed_seed, run.rounds) == (None, 4)
    assert set(run.problems) == {"unreferenced object 0xbf8c1dc0"}
