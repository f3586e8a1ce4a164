# SPDX-License-Identifier: MIT
"""emulator-test on a real kernel: it passes, and it fails if the kernel is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Emulate

from harness.core.errors import EXIT_FAILED, EXIT_PASSED
from harness.results.folder import LATEST
from harness.scenarios.catalogue import POLICIES, TRIGGERS
from harness.scenarios.verdict import Outcome
from harness.targets.model import Target

FAULTS = Path(__file__).parent / "faults"


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_policy_passes(
    emulate: Emulate, target: Target, tmp_path: Path, trigger: str
) -> None:
    assert emulate(target, tmp_path, policy="all", trigger=trigger) == EXIT_PASSED
    kills = json.loads((tmp_path / LATEST / "kills.json").read_text())
    assert {kill["policy"] for kill in kills} == set(POLICIES)
    for name in ("console.log", "kernel.log", "junit.xml", "command.txt"):
        assert (tmp_path / LATEST / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("growth-ignored", Outcome.NOT_KILLED),
        ("limit-ignored", Outcome.NOT_KILLED),
        ("comparison-inverted", Outcome.WRONG_VICTIM),
        ("dying-not-credited", Outcome.TOO_MANY_KILLED),
        ("kill-panics", Outcome.KERNEL_DIED),
    ],
)
def test_a_wrong_kernel_does_not_pass(
    emulate: Emulate, target: Target, tmp_path: Path, fault: str, outcome: Outcome
) -> None:
    scenarios, patches = ("report", "many-small", "two-users"), (FAULTS / f"{fault}.patch",)
    assert emulate(target, tmp_path, scenarios=scenarios, patches=patches) == EXIT_FAILED
    verdict = json.loads((tmp_path / LATEST / "verdict.json").read_text())
    outcomes = {one["outcome"] for one in verdict["scenarios"]}
    assert outcome.name in outcomes


# Two kernels with three faults each, which different scenarios judge, and what becomes of those.
WRONG: dict[str, tuple[tuple[str, ...], dict[str, Outcome]]] = {
    "rss": (
        ("sharers-live", "setuid-ignored", "killed-behind-a-read"),
        {
            "sharers": Outcome.NOT_KILLED,
            # Both its processes become their users' by setuid.
            "sharers-of-two": Outcome.NOT_KILLED,
            "threads-time": Outcome.PASSED,
            "exited-leader": Outcome.PASSED,
            "setuid": Outcome.NOT_KILLED,
            "read": Outcome.KILLED_LATE,
        },
    ),
    "runtime": (
        ("others-sharers-live", "threads-time-ignored", "exited-leader-ignored"),
        {
            "sharers": Outcome.PASSED,
            "sharers-of-two": Outcome.NOT_KILLED,
            "threads-time": Outcome.WRONG_VICTIM,
            "exited-leader": Outcome.WRONG_VICTIM,
            "setuid": Outcome.PASSED,
            "read": Outcome.PASSED,
        },
    ),
}


@pytest.mark.parametrize("policy", WRONG)
def test_each_of_three_faults_is_seen_by_its_own_scenario(
    emulate: Emulate, target: Target, tmp_path: Path, policy: str
) -> None:
    faults, outcomes = WRONG[policy]
    patches = tuple(FAULTS / f"{fault}.patch" for fault in faults)
    options = {"policy": policy, "scenarios": tuple(outcomes), "patches": patches}
    assert emulate(target, tmp_path, **options) == EXIT_FAILED
    verdict = json.loads((tmp_path / LATEST / "verdict.json").read_text())
    seen = {one["scenario"]: one["outcome"] for one in verdict["scenarios"] if one["policy"]}
    assert seen == {name: outcome.name for name, outcome in outcomes.items()}
