# SPDX-License-Identifier: MIT
"""The script that a scenario becomes on the device, and what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import TWO_VICTIMS

from harness.scenarios.catalogue import (
    POLICIES,
    PROGRAMS,
    SCENARIOS,
    TRIGGERS,
    Child,
    Run,
    Scenario,
    SetLimit,
    on_stock,
)
from harness.scenarios.script import (
    Part,
    Script,
    child_argument,
    events_command,
    parts_of,
    run_command,
    setting_command,
)

TOKEN = "0123abcd"


def named(name: str) -> Scenario:
    return next(one for one in (*SCENARIOS, TWO_VICTIMS) if one.name == name)


def script(name: str, policy: str = "rss", trigger: str = "alloc") -> Script:
    return Script(named(name), policy, trigger, "5f0c", TOKEN)


def command(name: str, run: str, policy: str, trigger: str) -> str:
    one = script(name, policy, trigger)
    return run_command(one.scenario.run(run), one)


def test_the_reports_own_command() -> None:
    assert command("report", "main", "rss", "alloc") == (
        "exec su 10070 ./oom_test_kernel"
        " -m 5f0c -e LLLLLK -s 50 -t 90 -u /data/local/tmp/end-5f0c"
        " u0_a70 100000000 20000 40000 20000 30000 200000 100000000"
    )


def test_a_shielded_run() -> None:
    words = command("all-protected", "main", "rss", "alloc")
    # Of the process that becomes the program: $$ would be the script's own.
    assert words.startswith("print -r -- -1000 > /proc/self/oom_score_adj && exec su --keep-oom-")


@pytest.mark.parametrize(
    ("name", "run", "policy", "trigger", "option"),
    [
        # How each child must end.
        ("runtime-pick", "main", "runtime", "alloc", "-e KL"),
        ("runtime-pick", "main", "rss", "alloc", "-e LK"),
        ("two-victims", "main", "rss", "alloc", "-e LKK"),
        ("bystander", "main", "rss", "alloc", "-e LK"),
        ("bystander", "bystander", "rss", "alloc", "-e L"),
        ("many-small", "main", "rss", "alloc", f"-e '{'?' * 64}'"),
        # With the daemon it waits for a kill, long only if one must come.
        ("report", "main", "rss", "daemon", "-w 30"),
        ("below-limit", "main", "rss", "daemon", "-w 0.4"),
        # There the kill comes behind a later step.
        ("lowered", "main", "rss", "daemon", "-w 0.4"),
        ("bystander", "bystander", "rss", "daemon", "-w 0.4"),
    ],
)
def test_a_runs_options(name: str, run: str, policy: str, trigger: str, option: str) -> None:
    words = command(name, run, policy, trigger)
    assert f" ./{PROGRAMS[trigger]} " in words
    assert f" {option} " in words


@pytest.mark.parametrize(
    ("child", "argument"),
    [
        (Child(20000), "20000"),
        (Child(5, cpu_ms=700, adj=-3), "5,cpu=700,adj=-3"),
        (Child(5, adj=0), "5,adj=0"),
        (Child(5, name="a,\n"), "5,name=\\x61\\x2c\\x0a"),
        (Child(5, cpu_ms=700, sure_ms=50), "5,cpu=700"),
        (Child(5, cpu_ms=700, leader="waits"), "5,cpu=700,leader=waits"),
        (Child(5, leader="exits", reads=True), "5,leader=exits,reads"),
        (Child(5, is_sharer=True), "5,sharer"),
    ],
)
def test_a_childs_argument(child: Child, argument: str) -> None:
    run = Run("main", "u0_a70", (child,))
    assert child_argument(run, child, "rss") == argument
    assert child_argument(run, child, "badness") == argument
    # Under runtime it uses more CPU time.
    assert child_argument(run, child, "runtime") == argument.replace(
        "700", str(700 + child.sure_ms)
    )


@pytest.mark.parametrize(
    ("child", "argument"),
    [
        (Child(5), "5,user=10070"),
        (Child(5, is_late=True), "5,then=10070"),
        (Child(5, is_sharer=True, user="u0_a71"), "5,user=10071,sharer"),
    ],
)
def test_a_child_that_becomes_somebodys(child: Child, argument: str) -> None:
    run = Run("main", "u0_a70", (Child(5), child), by_root=True)
    assert child_argument(run, child, "rss") == argument
    words = run_command(run, script("course"))
    # Root's own shell may be protected, and its children too.
    assert words.startswith("print -r -- 0 > /proc/self/oom_score_adj && exec ./oom_test_kernel ")


def test_what_is_read_is_there_and_goes() -> None:
    text = script("read").text
    file = "/data/local/tmp/zeros-5f0c"
    made, used, gone = (text.index(word) for word in (f" {file} ||", f"-f {file}", f" {file};"))
    assert made < used < gone
    assert "busybox truncate -s 14000000 " in text
    assert "zeros" not in script("course").text


def test_together() -> None:
    one = Run("main", "u0_a70", (Child(5),), together=True)
    assert " -a " in run_command(one, script("course"))


def test_setting_a_limit() -> None:
    step = SetLimit("u0_a71", "u0_a70", "max", expect="EPERM")
    expected = "su 10071 ./test_set_mm_limits -m 5f0c -e EPERM 10070 max"
    assert setting_command(step, "5f0c") == expected


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_scenario_has_its_parts_in_order(policy: str, trigger: str) -> None:
    for one in SCENARIOS:
        if trigger not in one.triggers:
            continue
        text = Script(one, policy, trigger, "5f0c", TOKEN).text
        words = [line.split()[1].strip("';") for line in text.splitlines() if line[:5] == "part "]
        runs = [run.name for run in one.runs]
        assert words[0] == "(begin)"
        assert words[-2:] == ["(decisions)", "(log)"]
        assert [word for word in words if word in runs] == runs
        assert words.count("(settings)") == len(one.settings)
        assert ("(daemon)" in words) == (trigger == "daemon")
        # An old adbd's first protocol has room for so much, with what is put around it.
        assert len(text) < 3_900


def test_a_script_says_what_is_needed_to_repeat_it() -> None:
    assert script("course").first_answer[:2] == ["alloc", "rss"]
    assert script("course", "badness", "daemon").first_answer[:2] == ["none", "badness"]
    assert "print -r -- 'badness' > /sys/module/my_oom_killer/parameters/policy" in (
        script("course", "badness", "daemon").text
    )


def test_parts_come_back_one_by_one() -> None:
    output = (
        "sh: a word before all\n"
        f"{TOKEN} part 7.01 (begin)\nalloc\n{TOKEN} status 0\n"
        f"{TOKEN} part 7.20 main\nholding\n"
        f"{TOKEN} part 8.00 (limits)\nuid\n{TOKEN} status 0\n"
        f"{TOKEN} part 8.10 main\nover\n{TOKEN} status 137\n"
        f"{TOKEN} part  (log)\n<6>[ 1.0] x"
    )
    assert parts_of(output, TOKEN) == (
        Part("(begin)", "alloc\n", 0, 7.01),
        Part("main", "holding\n", None, 7.2),
        Part("(limits)", "uid\n", 0, 8.0),
        Part("main", "over\n", 137, 8.1),
        Part("(log)", "<6>[ 1.0] x", None),
    )


@given(st.text(), st.integers(0, 200))
def test_what_was_cut_or_is_nothing_of_ours_raises_nothing(text: str, cut: int) -> None:
    whole = f"{TOKEN} part 1.00 (begin)\n{text}\n{TOKEN} status 0\n{TOKEN} part 2.00 main\n"
    for part in parts_of(whole[:cut], TOKEN):
        assert part.status in (0, None)
    assert parts_of(text, TOKEN) == ()


def test_a_kernel_that_tells_of_no_decisions_says_so() -> None:
    lines = script("course").text.splitlines()
    (line,) = [one for one in lines if "'(decisions)'" in one]
    # By a program whose status tells, and which reads in large pieces.
    assert "{ busybox cat $trace; } 2>&1; status $?" in line
    # Before 4.1 they are in debugfs.
    (where,) = [one for one in lines if one.startswith("trace=")]
    assert where == (
        "trace=/sys/kernel/tracing/trace; [[ -e $trace ]] || trace=/sys/kernel/debug/tracing/trace"
    )


@pytest.mark.parametrize("there", ["tracing", "debug/tracing", None])
def test_events_are_switched_on_where_they_are_and_nothing_fails(
    tmp_path: Path, there: str | None
) -> None:
    command = events_command().replace("/sys/kernel", str(tmp_path))
    command = re.sub(r"mount -t \S+ \S+ \S+", "false", command)
    switch = tmp_path / (there or "nowhere") / "events/mm_limits/enable"
    if there:
        switch.parent.mkdir(parents=True)
        switch.write_text("0")
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert done.stderr == b""
    assert switch.exists() == bool(there)
    assert not there or switch.read_text() == "1\n"


def test_a_stock_kernel_is_asked_for_nothing_that_it_does_not_have() -> None:
    for one in SCENARIOS:
        for trigger in one.triggers:
            text = Script(on_stock(one), "rss", trigger, "5f0c", TOKEN, stock=True).text
            for word in ("mm_limits_policy", "/proc/mm_limits", "oom_daemon", "insmod", "tracing"):
                assert word not in text.replace("oom_test_daemon", "")


def test_the_daemons_pid_is_told_before_it_can_say_anything() -> None:
    """Else a script that has read the daemon's first line would not know whom to end."""
    lines = script("report", trigger="daemon").text.splitlines()
    (started,) = [line for line in lines if "./oom_daemon" in line]
    assert started.index("pid $$") < started.index("exec ./oom_daemon")
    assert "&" not in started


@pytest.mark.parametrize(
    ("name", "trigger", "waits"),
    [
        # The run itself waits until all have died, where the kernel kills at once.
        ("report", "alloc", False),
        # By the daemon's second round, on a busy host, a run may hold already.
        ("report", "daemon", True),
        ("lowered", "alloc", True),
        # Nobody has to die.
        ("below-limit", "daemon", False),
        # The user stays above its limit.
        *((one.name, word, False) for one in SCENARIOS if one.nobody_left for word in one.triggers),
    ],
)
def test_the_limits_are_read_when_who_must_die_has_gone(
    name: str, trigger: str, waits: bool
) -> None:
    assert ("until within" in script(name, trigger=trigger).text) == waits
