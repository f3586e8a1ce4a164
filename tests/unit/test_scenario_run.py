# SPDX-License-Identifier: MIT
"""The commands that a scenario becomes on the device."""

from __future__ import annotations

import pytest

from harness.scenario_run import child_argument, run_command, settings_command, split_settings
from harness.scenarios import SCENARIOS, Child, Run, Scenario, SetLimit


def scenario(name: str) -> Scenario:
    return next(one for one in SCENARIOS if one.name == name)


def command(name: str, run: str, policy: str, trigger: str) -> str:
    one = scenario(name)
    return run_command(one.run(run), policy, trigger, one, nonce="5f0c", until="/tmp/end")


def test_the_reports_own_command() -> None:
    assert command("report", "main", "rss", "alloc") == (
        "cd /data/local/tmp && exec su 10070 ./oom_test_kernel"
        " -m 5f0c -e LLLLLK -s 100 -t 25 -u /tmp/end"
        " u0_a70 100000000 20000 40000 20000 30000 200000 100000000"
    )


def test_the_daemons_program_waits_for_a_kill_only_where_one_must_come() -> None:
    assert " ./oom_test_daemon " in command("report", "main", "rss", "daemon")
    assert " -w 10 " in command("report", "main", "rss", "daemon")
    assert " -w 0.4 " in command("below-limit", "main", "rss", "daemon")
    # There the kill comes behind a later step.
    assert " -w 0.4 " in command("lowered", "main", "rss", "daemon")
    assert " -w 0.4 " in command("bystander", "bystander", "rss", "daemon")


def test_a_shielded_run() -> None:
    words = command("all-protected", "main", "rss", "alloc")
    assert "echo -1000 > /proc/$$/oom_score_adj && exec su --keep-oom-score 10070 ./" in words


def test_the_policys_own_victim() -> None:
    assert " -e KL " in command("runtime-pick", "main", "runtime", "alloc")
    assert " -e LK " in command("runtime-pick", "main", "rss", "alloc")


@pytest.mark.parametrize(
    ("child", "argument"),
    [
        (Child(20000), "20000"),
        (Child(5, cpu_ms=700, adj=-3), "5,cpu=700,adj=-3"),
        (Child(5, adj=0), "5,adj=0"),
        (Child(5, name="a,\n"), "5,name=\\x61\\x2c\\x0a"),
    ],
)
def test_a_childs_argument(child: Child, argument: str) -> None:
    assert child_argument(child) == argument


def test_together() -> None:
    one = Run("main", "u0_a70", (Child(5),), together=True)
    words = run_command(one, "rss", "alloc", scenario("course"), nonce="5f0c", until="/e")
    assert " -a " in words


def test_setting_limits() -> None:
    steps = [
        SetLimit("u0_a71", "u0_a70", "max", expect="EPERM"),
        SetLimit("root", "u0_a70", 5000),
    ]
    assert settings_command(steps, "5f0c") == (
        "cd /data/local/tmp"
        "; su 10071 ./test_set_mm_limits -m 5f0c -e EPERM 10070 max; echo status: $?"
        "; su 0 ./test_set_mm_limits -m 5f0c -e 0 10070 5000; echo status: $?"
    )


def test_the_answers_come_back_one_by_one() -> None:
    first, second = split_settings(
        "set_mm_limits: uid=10070, mm_max=4294967295, ret=-1, errno=1\n"
        "done: program=test_set_mm_limits, marker=5f0c, checks=1/1\n"
        "status: 0\n"
        "set_mm_limits: uid=10070, mm_max=5000, ret=1, errno=0\n"
        "done: program=test_set_mm_limits, marker=5f0c, checks=0/1\n"
        "status: 1\n"
        "set_mm_limits: uid=1"
    )
    assert (first.status, first.output.limits[0].errno) == (0, 1)
    assert (second.status, second.output.limits[0].ret) == (1, 1)
    assert first.output.done is not None
