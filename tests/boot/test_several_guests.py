# SPDX-License-Identifier: MIT
"""Several guests, their equipment, the evidence from them, and the stock kernel beside ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Emulate
from device_work import APP, MIB, SECONDS, holder

from harness.build import equipment
from harness.core.errors import EXIT_PASSED
from harness.kernel_output.programs_output import parse_usage
from harness.machine.adb import Device
from harness.machine.session import Boot, open_session
from harness.results.folder import LATEST
from harness.scenarios.catalogue import SCENARIOS
from harness.scenarios.evidence import KILL_RECORD, PROC, PROC_MM_LIMITS
from harness.scenarios.script import watch_command
from harness.targets.model import Target
from harness.ui.workspace import Workspace

OTHER_KERNELS = True


def read(results: Path, name: str) -> Any:
    return json.loads((results / LATEST / name).read_text())


def test_guests_share_the_scenarios(emulate: Emulate, target: Target, tmp_path: Path) -> None:
    assert emulate(target, tmp_path, jobs="3") == EXIT_PASSED
    told = read(tmp_path, "verdict.json")
    names = [one["scenario"] for one in told["scenarios"]]
    assert names == [
        *("boot", "boot, guest 2", "boot, guest 3"),
        *(scenario.name for scenario in SCENARIOS),
        *("whole log", "whole log, guest 2", "whole log, guest 3"),
    ]
    cpus = "1" if target.with_one_cpu() is not target else "2"
    assert ("1 CPU from guest 2 on" in told["machine"]) == (cpus == "1")
    for name, smp in {"": "2", "guest2": cpus, "guest3": cpus}.items():
        folder = tmp_path / LATEST / name
        assert f" -smp {smp} " in (folder / "qemu-command.txt").read_text()
        # Each guest has done some of the work.
        assert "goldfish-oom: begin" in (folder / "kernel.log").read_text()
        assert (folder / "console.log").stat().st_size > 0


def test_who_used_how_much_is_seen_with_the_limit_and_the_choice(
    emulate: Emulate, target: Target, tmp_path: Path
) -> None:
    assert emulate(target, tmp_path, scenarios=("report", "removed")) == EXIT_PASSED
    report, removed = read(tmp_path, "usage.json")
    (kill,) = read(tmp_path, "kills.json")
    seen = [one for one in report["samples"] if one["uid"] == APP]
    times = [one["time"] for one in seen]
    assert times == sorted(times)
    # The number of samples of /proc depends on the host; the kernel's own sums are always there.
    kernels = {one["source"]: one for one in seen if one["source"] != PROC}
    at_kill, at_end = kernels[KILL_RECORD], kernels[PROC_MM_LIMITS]
    assert len([one for one in seen if one["source"] == KILL_RECORD]) == 1
    for name in ("time", "uid", "mm_max"):
        assert at_kill[name] == kill[name]
    assert at_kill["rss"] == kill["user_rss"] > 100_000_000
    assert at_kill["time"] < at_end["time"]
    assert 0 < at_end["rss"] < 100_000_000
    (peak,) = report["peaks"]
    assert (peak["uid"], peak["mm_max"]) == (APP, 100_000_000)
    assert kill["user_rss"] <= peak["rss"] < 110_000_000
    # In /proc, a shared page counts for each process.
    assert max(one["rss"] for one in seen) < 130_000_000
    assert {one["mm_max"] for one in seen if one["rss"]} == {100_000_000}
    assert None in {one["mm_max"] for one in removed["samples"]}
    decisions = read(tmp_path, "decisions.json")
    assert [(one["chosen"], one["agrees"]) for one in decisions] == [
        (kill["pid"], True) for kill in read(tmp_path, "kills.json")
    ]
    assert len(decisions[0]["candidates"]) > 5


def test_what_a_user_has_is_seen_step_by_step(room: Device) -> None:
    """Each step waits until the one before was seen, however long that takes."""
    step = 10
    with closing(room.start(watch_command())) as watch, ExitStack() as stack:

        def wait_until(is_it: Callable[[int], bool]) -> None:
            found = -1
            while not is_it(found):
                line = watch.wait_line(re.compile(f"uid={APP},"), SECONDS)
                (found,) = (one.rss for one in parse_usage(line))

        for number in range(1, 5):
            stack.enter_context(holder(room, APP, step))
            wait_until(lambda rss, least=number * step * MIB: rss >= least)  # type: ignore[misc]
        stack.close()
        wait_until(lambda rss: rss == 0)


def test_a_guest_has_the_programs_and_modules_with_it(
    workspace: Workspace, target: Target, tmp_path: Path
) -> None:
    files = equipment.build(workspace, target).bootable
    boot = Boot(target, files.image, files.initramfs, files.release)
    with open_session(workspace, boot, tmp_path) as session:
        listing = session.device.shell("cd /data/local/tmp; stat -c '%n %a %u %s' *").output
        assert session.device.shell("ls /equipment", check=False).status != 0
    expected = {f"{path.name} 755 0 {path.stat().st_size}" for path in files.pushed}
    assert set(listing.split("\n")) - {""} == expected


@pytest.mark.parametrize("trigger", ["alloc", "daemon"])
def test_the_stock_kernel_lets_everybody_live(
    emulate: Emulate, target: Target, tmp_path: Path, trigger: str
) -> None:
    scenarios = ("report", "badness-pick", "lowered")
    options = {"policy": "badness", "trigger": trigger, "differential": True}
    assert emulate(target, tmp_path, scenarios=scenarios, **options) == EXIT_PASSED
    cells = read(tmp_path, "differential.json")
    differing = {(one["scenario"], one["cell"]): one for one in cells if one["differs"]}
    victim = differing["badness-pick", "main: child 0, 5 MB"]
    assert (victim["stock"], victim["patched"]) == ("lived", "killed")
    call = differing["lowered", "call 1: root sets u0_a70 to 12 MB"]
    assert (call["stock"], call["patched"]) == ("errno 38", "0")
    same = [one for one in cells if not one["differs"]]
    assert [one for one in same if one["cell"] == "main: child 1, 1 MB"]
    stock = read(tmp_path, "stock/verdict.json")
    assert stock["passed"] is True
    assert stock["release"] != read(tmp_path, "verdict.json")["release"]
