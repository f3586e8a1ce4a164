# SPDX-License-Identifier: MIT
"""The benchmark: its arithmetic, what it reads, its goals, its plan, its page."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bench import docs as bench_docs
from harness.bench import goals as bench_goals
from harness.bench import plan as bench_plan
from harness.bench import plot as bench_plot
from harness.bench import run as bench
from harness.bench import stats as bench_stats
from harness.bench.baselines import (
    BASELINES,
    FOLDER,
    MEMCG,
    PATCHED,
    PATCHED_4096,
    SCAN_ALWAYS,
    STOCK,
    TIMER,
)
from harness.bench.goals import GOALS, Goal, Verdict, judge
from harness.bench.output import CrowdRun, idle_pid, parse_bench
from harness.bench.result import (
    BenchResult,
    Count,
    Crowd,
    Kill,
    KillCase,
    Looks,
    Massacre,
    Measured,
    PipeReads,
    Timing,
    from_json,
    to_csv,
    to_json,
)
from harness.bench.stats import Estimate
from harness.core.errors import EXIT_FAILED, EXIT_PASSED, UsageError
from harness.core.paths import REPO
from harness.kernel_output.records import parse_log
from harness.results.folder import ResultFolder
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import QemuMachine
from harness.targets.table import TARGETS, get_target
from harness.ui.workspace import Workspace

VALUES = st.lists(st.floats(0.5, 1e6), min_size=1, max_size=30)


# --- arithmetic -------------------------------------------------------------------------


def test_a_ratio_lies_between_those_of_its_places() -> None:
    found = bench_stats.ratio([110, 105], [100, 105])
    assert found == Estimate(215 / 205, 1.0, 1.1)
    assert found.spread == pytest.approx(1.1 - 215 / 205)


def test_what_has_no_partner_does_not_count() -> None:
    assert bench_stats.ratio([2.0], [1.0, 99.0]) == Estimate(2.0, 2.0, 2.0)


@given(VALUES, st.floats(0.5, 2))
def test_what_is_slower_by_a_factor_is_found_to_be(base: list[float], factor: float) -> None:
    slower = [factor * value for value in base]
    for found in (bench_stats.ratio(slower, base), bench_stats.paired_ratio(slower, base)):
        assert found.value == pytest.approx(factor)
        assert found.low == pytest.approx(factor)
        assert found.high == pytest.approx(factor)


def test_an_interval_is_the_same_each_time_and_holds_the_value() -> None:
    values, base = [1.0, 1.3, 0.8, 1.1, 1.2], [1.0, 1.1, 1.0, 0.9, 1.05]
    found = bench_stats.paired_ratio(values, base)
    assert found == bench_stats.paired_ratio(values, base)
    assert found.low < found.value < found.high


def test_rounds_have_to_be_pairs() -> None:
    with pytest.raises(ValueError, match="zip"):
        bench_stats.paired_ratio([1.0], [1.0, 2.0])


@given(data=st.data(), of=st.integers(1, 300))
def test_a_share_is_within_its_interval_which_is_of_shares(data: st.DataObject, of: int) -> None:
    found = bench_stats.share(data.draw(st.integers(0, of)), of)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_share_of_few_says_little_and_one_of_many_more() -> None:
    # By hand, from Wilson's formula.
    few, many = bench_stats.share(16, 20), bench_stats.share(160, 200)
    assert (few.low, few.high) == pytest.approx((0.5840, 0.9193), abs=1e-4)
    assert (many.low, many.high) == pytest.approx((0.7391, 0.8495), abs=1e-4)


@given(VALUES, st.floats(0, 1))
def test_a_percentile_is_within_the_values(values: list[float], share: float) -> None:
    found = bench_stats.percentile(values, share)
    assert min(values) <= found <= max(values) or math.isclose(found, max(values))


def test_percentiles() -> None:
    assert bench_stats.percentile([3, 1, 2], 0.5) == 2
    assert bench_stats.percentile([0, 10], 0.99) == pytest.approx(9.9)
    assert bench_stats.percentile([7], 0.99) == 7


@given(VALUES, st.floats(0.01, 0.99))
def test_a_quantile_is_within_its_interval(values: list[float], share: float) -> None:
    found = bench_stats.quantile(values, share)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


def test_a_quantile_of_few_says_little_and_one_of_many_more() -> None:
    # By the binomial distribution: of 20 values, 6 to 15 are below the median in 95 of 100 cases,
    # and all or all but one are below the last hundredth.
    few = [float(value) for value in range(1, 21)]
    assert bench_stats.quantile(few, 0.5) == Estimate(10.5, 6.0, 15.0)
    found = bench_stats.quantile(few, 0.99)
    assert (found.low, found.high) == (19.0, 20.0)
    many = bench_stats.quantile([float(value) for value in range(1, 2001)], 0.5)
    assert (many.low, many.high) == pytest.approx((1000.5 - 44, 1000.5 + 44), abs=1.5)


@given(VALUES)
def test_a_mean_is_in_the_middle_of_its_interval(values: list[float]) -> None:
    found = bench_stats.mean(values)
    assert found.value == pytest.approx(fmean(values))
    assert found.low <= found.value <= found.high


# --- what the program prints ------------------------------------------------------------

OUTPUT = """\
time: what=touch, run=0, units=100, ns=200000
time: what=touch, run=1, units=100, ns=190000
done: program=bench_work, marker=cafe, checks=2/2
kill: run=0, victim=2, pid=98, killer=mm_limits, base=331, over=7, crossed_us=102277, \
killed_us=102386, free_us=103277, all_free_us=106277, gone_us=111690, all=0
kill: run=1, victim=0, pid=99, killer=memcg, base=331, over=-40, crossed_us=102277, \
killed_us=102200, free_us=0, all_free_us=0, gone_us=103000, all=1
no kill: run=2, over=79962
crowd: run=0, processes=64, kills=37, within=1, us=464492, left=-85
bystander: run=0, killed=300, faults=25600, worst_us=7012, ordinary_faults=300, \
ordinary_worst_us=40100, us=912345
pipe: run=0, victim=123, killer=mm_limits, reads=411, bytes=23592960, worst_us=6100
done: program=bench_work, marker=beef, checks=2/3
"""


def test_the_programs_output() -> None:
    found = parse_bench(OUTPUT)
    assert [time.per_unit for time in found.times] == [2000, 1900]
    assert found.kills == (
        (98, Kill(7, None, 9413, "mm_limits", False, free_us=1000, all_free_us=4000)),
        # The kill came before the page that would have crossed the limit.
        (99, Kill(-40, None, 800, "memcg", capped=True)),
    )
    assert found.crowds == (CrowdRun(37, True, 464492),)
    assert found.massacres == (Massacre("", 300, 25600, 7012, 40100),)
    assert found.pipes == (PipeReads("", "mm_limits", 411, 6100),)
    assert found.done == ("cafe", "beef")


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    parse_bench(text)
    idle_pid(text)


def test_who_holds_the_idle_ones() -> None:
    assert idle_pid("idle: pid=12, processes=5\n") == 12
    assert idle_pid("idle: pid=x, processes=5") is None


def test_kills_and_their_records_are_joined() -> None:
    log = (
        "<3>[    3.399479] uid=10070,\tuRSS=67145728,\tmm_max=67108864,\tpid=98,\tpRSS=30883840,"
        "\tpolicy=rss,\ttrigger=alloc,\tcomm=bench_work\n"
    )
    kills = bench.join_records(parse_bench(OUTPUT).kills, parse_log(log, raw=True).records)
    assert [(kill.outside, kill.inside) for kill in kills] == [(7, 9), (-40, None)]


# --- goals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "found", "at_least", "verdict"),
    [
        (1.0, Estimate(1.0, 0.9, 1.1), False, Verdict.REACHED),
        (1.0, Estimate(1.05, 0.99, 1.1), False, Verdict.WITHIN_SPREAD),
        (1.0, Estimate(1.05, 1.01, 1.1), False, Verdict.MISSED),
        (1.0, Estimate(1.0, 0.9, 1.1), True, Verdict.REACHED),
        (1.0, Estimate(0.95, 0.9, 1.01), True, Verdict.WITHIN_SPREAD),
        (1.0, Estimate(0.95, 0.9, 0.99), True, Verdict.MISSED),
        (1.0, None, False, Verdict.NOT_MEASURED),
        (None, Estimate(5, 5, 5), False, Verdict.REPORTED),
    ],
)
def test_verdicts(
    bound: float | None, found: Estimate | None, at_least: bool, verdict: Verdict
) -> None:
    goal = Goal("x", bound, lambda _m, _n: found, at_least)
    assert goal.judge(Measured()).verdict is verdict


def count(name: str, setting: str, work: str, *values: float) -> Count:
    return Count(name, setting, work, values)


@dataclass(frozen=True)
class Figures:
    """The figures of a run; these reach the goals.

    Instructions: `own` with a limit of one's own, `many` with the most processes, `always` of
    scan-always, `beside` of a look beside many processes. Pages of overshoot: `over`, from
    outside `apart` more, `late` of the timer. Microseconds: `free` from the limit to free memory,
    `worst` of what bystanders wait for. `looks` of 300 forks.
    """

    own: float = 1003.0
    over: int = 5
    apart: int = 0
    many: float = 1003.0
    always: float = 2500.0
    late: int = 3000
    free: int = 1500
    worst: int = 9000
    looks: int = 3
    beside: float = 20000.0


def a_run(**changes: Any) -> Measured:
    """A whole run, whose figures reach the goals but for the changes."""
    figures = Figures(**changes)
    own, over, many, always = figures.own, figures.over, figures.many, figures.always
    counts = [
        count(STOCK.name, "none", work, 1000.0, 1000.2) for work in ("touch", "fork", "storm")
    ]
    for work in ("touch", "fork", "storm"):
        counts += [
            count(PATCHED.name, "none", work, 1000.5, 1000.6),
            count(PATCHED.name, "others-10", work, 1001.0, 1001.2),
            count(PATCHED.name, "own", work, own, own + 0.2),
            count(SCAN_ALWAYS.name, "own", work, always, always + 1.0),
        ]
    counts += [count(PATCHED_4096.name, "others-4096", "touch", 1001.0, 1001.3)]
    *fewer, most = (setting.name for setting in bench_plan.CROWDED)
    counts += [count(STOCK.name, each, "touch-less", 1003.0, 1003.2) for each in (*fewer, most)]
    counts += [count(PATCHED.name, each, "touch-less", 1003.0, 1003.2) for each in fewer]
    counts += [count(PATCHED.name, most, "touch-less", many, many + 0.2)]
    counts += [
        count(PATCHED.name, bench_plan.BESIDE[0].name, "look", 20000.0, 20001.0),
        count(PATCHED.name, bench_plan.BESIDE[-1].name, "look", figures.beside, figures.beside + 1),
    ]
    kills = tuple(
        Kill(
            over + figures.apart + n % 3,
            over + n % 2,
            9000 + n,
            "mm_limits",
            False,
            figures.free + n,
            5000 + n,
        )
        for n in range(30)
    )
    kills_late = tuple(
        Kill(figures.late + n, figures.late + 1 + n, 90000, "mm_limits", n == 2) for n in range(5)
    )
    cases = [KillCase(PATCHED.name, p, mib, 30, kills, 20) for p, mib in bench_plan.OVERCOMMITS]
    counted = (replace(case, counted=True) for case in cases)
    return Measured(
        counts=tuple(counts),
        timings=(
            Timing(STOCK.name, "1x4", (10.0, 11.0, 12.0)),
            Timing(PATCHED.name, "1x4", (10.1, 11.0, 12.1)),
        ),
        kill_cases=(*cases, *counted, KillCase(TIMER.name, 4, 64, 5, kills_late, None)),
        crowds=(Crowd(PATCHED.name, 450000, 37, True), Crowd(PATCHED.name, 460000, 38, True)),
        massacres=tuple(
            Massacre(PATCHED.name, 2000, 9999, figures.worst + n, 50000) for n in range(3)
        ),
        pipes=tuple(PipeReads(PATCHED.name, "mm_limits", 400, figures.worst + n) for n in range(3)),
        looks=tuple(Looks(PATCHED.name, figures.looks, 300) for _ in range(3)),
    )


def verdicts(measured: Measured) -> dict[str, Verdict]:
    return {one.goal.figure: one.verdict for one in judge(measured)}


def test_a_run_that_reaches_all_and_one_that_measured_nothing() -> None:
    assert set(verdicts(a_run()).values()) == {Verdict.REACHED, Verdict.REPORTED}
    assert set(verdicts(Measured()).values()) == {Verdict.NOT_MEASURED}


def missed(measured: Measured) -> set[str]:
    return {one.goal.figure for one in judge(measured) if one.verdict is Verdict.MISSED}


@pytest.mark.parametrize("killer", [None, "system", "unknown"])
def test_a_kill_that_did_not_come_or_is_not_by_a_limit_is_told(killer: str | None) -> None:
    measured = a_run()
    case, *others = measured.kill_cases
    first = (Kill(5, 5, 9000, killer, False, 1500, 5000),) if killer else ()
    cases = (replace(case, kills=(*first, *case.kills[1:])), *others)
    found = missed(replace(measured, kill_cases=cases))
    assert found == {"kills that came, of those wanted"}


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        (
            {"own": 1030.0},
            {
                "the same, a limit of its own, far above",
                "fork+exit, the worst of no limit, others', own",
                "4-thread page-fault storm, the worst of the same",
            },
        ),
        (
            {"over": 400},
            {"overshoot, pages: mean of the worst case", "overshoot, pages: worst kill"},
        ),
        (
            {"apart": 30},
            {
                "overshoot, pages: mean of the worst case",
                "kills on which inside and outside agree",
            },
        ),
        ({"many": 1203.0}, {"how that grows from 10 to 1000 processes"}),
        (
            {"free": 9000},
            {"from the limit to free memory, ms: median", "from the limit to free memory, ms: p99"},
        ),
        (
            {"worst": 20500},
            {"a bystander's worst fault beside kills, ms", "root's worst read of a pipe, ms"},
        ),
        ({"looks": 300}, {"looks for each fork+exit near the limit"}),
        ({"beside": 26000.0}, {"a look beside many of others, over one beside 10"}),
        (
            {"always": 1003.0, "late": 3},
            {goal.figure for goal in GOALS if goal.figure.startswith("it tells")},
        ),
    ],
    ids=[
        *("cost", "overshoot", "views that differ", "growth", "late", "bystanders", "looks"),
        *("others", "the benchmark cannot tell"),
    ],
)
def test_what_misses_its_goal_is_told(changes: dict[str, Any], figures: set[str]) -> None:
    assert missed(a_run(**changes)) == figures


def test_where_memory_did_not_come_back_nothing_is_said_of_it() -> None:
    measured = a_run()
    first = replace(measured.kill_cases[0].kills[0], free_us=None)
    cases = tuple(
        replace(case, kills=(first, *case.kills[1:])) if case.counted else case
        for case in measured.kill_cases
    )
    found = verdicts(replace(measured, kill_cases=cases))
    unknown = {figure for figure, verdict in found.items() if verdict is Verdict.NOT_MEASURED}
    assert unknown == {
        *("from the limit to free memory, ms: median", "from the limit to free memory, ms: p99"),
    }


def test_a_run_whose_waits_differ_much_does_not_miss() -> None:
    pipes = tuple(PipeReads(PATCHED.name, "mm_limits", 400, us) for us in (9000, 21000, 22000))
    found = verdicts(replace(a_run(), pipes=pipes))
    assert found["root's worst read of a pipe, ms"] is Verdict.WITHIN_SPREAD


def test_looks_are_counted_once_each() -> None:
    trace = """\
# entries-in-buffer/entries-written: 5/5   #P:2
 bench_work-97  [001] d..2.  1.2: mm_limits_candidate: scan=7 uid=10070 pid=97 score=9 rss=1
 bench_work-97  [001] d..2.  1.3: mm_limits_candidate: scan=7 uid=10070 pid=98 score=9 rss=1
 bench_work-97  [001] d..2.  1.4: mm_limits_candidate: scan=8 uid=20000 pid=99 score=9 rss=1
 bench_work-97  [001] d..2.  1.5: mm_limits_candidate: scan=9 uid=10070 pid=97 score=9 rss=1
"""
    assert bench.scans(trace, 10070) == 2
    assert bench.scans("", 10070) == 0


def test_the_alternatives_stand_beside_the_goals() -> None:
    by_figure = {one.goal.figure: one for one in judge(a_run())}
    assert by_figure["the same, a limit of its own, far above"].beside == "scan-always 2.5002"
    assert "timer 3003.0" in by_figure["overshoot, pages: mean of the worst case"].beside


# --- the plan ---------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [bench_plan.full(), bench_plan.quick()])
def test_what_is_compared_was_measured_in_the_same_order(plan: bench_plan.Plan) -> None:
    orders: dict[tuple[str, str], list[str]] = {}
    for one in plan.countings:
        orders.setdefault((one.baseline.name, one.setting.name), []).append(one.work.name)
    for order in orders.values():
        assert len(set(order)) == len(order)
    stock = orders[STOCK.name, "none"]
    for (_, setting), order in orders.items():
        if not setting.startswith(("own-", "beside-")):
            assert order == stock[: len(order)]


def test_the_plan_measures_every_goal() -> None:
    plan = bench_plan.full()
    counts = tuple(
        count(one.baseline.name, one.setting.name, one.work.name, 1.0) for one in plan.countings
    )
    kill = Kill(1, 1, 1, "mm_limits", False, 1, 1)
    cases = tuple(
        KillCase(name, case.processes, case.limit_mib, case.kills, (kill,))
        for name, cases in plan.overcommits.items()
        for case in cases
    )
    cases += tuple(
        KillCase(name, case.processes, case.limit_mib, case.kills, (kill,), counted=True)
        for name, cases_of in plan.freed.items()
        for case in cases_of
    )
    crowds = tuple(Crowd(name, 1, 1, True) for name in plan.crowds)
    measured = Measured(
        counts=counts,
        kill_cases=cases,
        crowds=crowds,
        massacres=tuple(Massacre(name, 1, 1, 1, 1) for name in plan.bystanders),
        pipes=tuple(PipeReads(name, "mm_limits", 1, 1) for name in plan.bystanders),
        looks=tuple(Looks(name, 1, 300) for name in plan.bystanders),
    )
    assert Verdict.NOT_MEASURED not in verdicts(measured).values()
    assert plan.baselines == tuple(BASELINES.values())


def test_the_issues_cases() -> None:
    plan = bench_plan.full()
    ours = plan.overcommits[PATCHED.name]
    assert {(case.processes, case.limit_mib) for case in ours} == {
        (processes, mib) for processes in (1, 4, 8) for mib in (64, 128)
    }
    assert {case.kills for case in ours} == {30}
    assert {work.name for work in bench_plan.REPORT_2020} == {
        *("1x4", "1x32", "1x64", "1x128"),
        *("4x1", "4x4", "4x16", "4x64", "8x1", "8x4", "8x16"),
    }
    assert all(one.programs == 5 for one in plan.countings if one.baseline == PATCHED)


def test_only_some_parts() -> None:
    plan = bench_plan.full()
    only = bench._only(plan, ["kills"])
    assert (only.countings, only.timed, only.crowds, only.bystanders) == ((), (), {}, {})
    assert bench._only(plan, ["bystanders"]).bystanders == plan.bystanders
    assert only.overcommits == plan.overcommits
    assert bench._only(plan, []) == plan
    with pytest.raises(UsageError, match="'times2'"):
        bench.run(Workspace(), LINUX_6_1, parts=["times2"])
    with pytest.raises(UsageError, match="stock QEMU"):
        bench.run(Workspace(), get_target("goldfish-3.4", "sdk"))


# --- baselines --------------------------------------------------------------------------


def test_every_file_of_the_baselines_is_used() -> None:
    every = [one.on(target) for one in BASELINES.values() for target in TARGETS.values()]
    files = [file for one in every for file in (*one.patches, one.config_file) if file]
    named = {file.name for file in files}
    assert {path.name for path in FOLDER.iterdir()} == named


def test_what_differs_much_has_a_tree_of_its_own() -> None:
    trees = [one.target(LINUX_6_1).tree for one in (PATCHED, STOCK, PATCHED_4096, MEMCG)]
    assert len(set(trees)) == 4
    assert SCAN_ALWAYS.target(LINUX_6_1) == TIMER.target(LINUX_6_1) == LINUX_6_1
    assert not STOCK.target(LINUX_6_1).patched
    assert not MEMCG.target(LINUX_6_1).patched


def test_commands() -> None:
    assert PATCHED.limit(10070, 4096) == "echo uid=10070 max=4096 > /proc/mm_limits"
    assert PATCHED.limit(10070, None).startswith("echo uid=10070 max=none ")
    assert STOCK.limit(10070, 4096) == ":"
    assert "echo none > /proc/sys/vm/mm_limits_trigger" in TIMER.begin
    assert MEMCG.limit(10070, 4096).endswith("echo 4096 > /sys/fs/cgroup/u10070/memory.max")
    assert MEMCG.group_file(10070) == "/sys/fs/cgroup/u10070/cgroup.procs"
    assert PATCHED.group_file(10070) is None


def test_a_kernel_without_cgroup_v2_has_v1() -> None:
    old = MEMCG.on(GOLDFISH_3_4)
    assert old.name == MEMCG.name
    assert old.config_file == FOLDER / "memcg-v1.config"
    assert old.begin == "mount -t cgroup -o memory none /sys/fs/cgroup"
    assert old.limit(10070, 4096).endswith("/sys/fs/cgroup/u10070/memory.limit_in_bytes")
    assert MEMCG.on(LINUX_6_1) == MEMCG
    assert PATCHED.on(GOLDFISH_3_4) == PATCHED


def test_limits_of_others() -> None:
    command = bench._others_command(PATCHED, 4096, 64)
    assert command.startswith("uid=20000; while [ $uid -lt 24096 ]; do echo uid=$uid max=64 >")
    assert bench._others_command(PATCHED, 0, 64) == ":"


def test_a_machine_that_counts() -> None:
    machine = LINUX_6_1.machine
    assert isinstance(machine, QemuMachine)
    counting = LINUX_6_1.on_machine(machine.counting_instructions())
    assert isinstance(counting.machine, QemuMachine)
    assert counting.machine.smp == 1
    assert counting.machine.devices[-2:] == ("-icount", "shift=0,sleep=off")
    assert LINUX_6_1.machine == machine


# --- results ----------------------------------------------------------------------------


def a_result(measured: Measured | None = None, finished: bool = True) -> BenchResult:
    return BenchResult(
        when="2026-11-26T00:00:00+00:00",
        command="./inv bench --kernel linux-6.1",
        quick=False,
        finished=finished,
        machine={"host CPU": "2 x Something"},
        kernels={STOCK.name: "6.1.0-stock", PATCHED.name: "6.1.0-ours", TIMER.name: "6.1.0-timer"},
        measured=measured or a_run(),
    )


def test_a_result_is_read_as_it_was_written() -> None:
    result = a_result()
    assert from_json(to_json(result, goals=bench_goals.summary(judge(result.measured)))) == result


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_what_is_no_result(text: str) -> None:
    with pytest.raises(ValueError, match=r"bench\.json|Expecting"):
        from_json(text)


def test_raw_values_as_csv() -> None:
    lines = to_csv(a_run()).splitlines()
    assert lines[0] == "what,baseline,setting,work,number,value,unit"
    assert "count,stock,none,touch,0,1000.000,instructions" in lines
    assert "over outside,timer,limit,4x64,4,3004,pages" in lines
    assert "memory free,patched,limit,8x128 counted,0,1500,us" in lines
    assert "ordinary bystander's worst fault,patched,limit,2000 killed,1,50000,us" in lines
    assert "bystander's worst fault,patched,limit,2000 killed,1,9001,us" in lines
    assert "worst read,patched,limit,pipe,2,9002,us" in lines
    assert "looks,patched,limit,300 forks,0,3,looks" in lines
    assert {line.count(",") for line in lines} == {6}


# --- pictures and page ------------------------------------------------------------------


def test_pictures_are_the_same_for_the_same_values(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        bench_plot.draw(a_result(), tmp_path / name)
    for kind in ("svg", "png"):
        first, second = (tmp_path / name / f"bench.{kind}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes() != b""


def test_what_is_drawn() -> None:
    measured = a_run()
    assert bench_plot.instruction_ratios(measured).keys() == {"patched", "scan-always"}
    assert bench_plot.time_ratios(measured).keys() == {"patched"}
    assert bench_plot.overshoots(measured)["timer"] == [3001, 3002, 3003, 3004, 3005]
    assert [x for x, _ in bench_plot.growth(measured)[PATCHED.name]] == [10, 100, 1000]
    assert [x for x, _ in bench_plot.limits_growth(measured)] == [0, 10, 4096]


def test_the_page() -> None:
    text = bench_docs.page(a_result())
    assert "| command | `./inv bench --kernel linux-6.1` |" in text
    assert "| host CPU | 2 x Something |" in text
    assert "| the same, a limit of its own, far above | ≤ 1.005 | 1.0030 |" in text
    assert f"- **timer**: {TIMER.text}" in text
    # Which was not among the kernels.
    assert "- **memcg**" not in text
    kills = "| patched: 8 at 128 MB | 30 of 30 | 6.2 | 7 | 30 of 30 |"
    assert f"{kills} 1.5 | 1.5 | 5.0 | 5.0 | 9.0 | 9.0 |" in text
    # Its processes had stopped to grow.
    assert "| timer: 4 at 64 MB | 5 of 5 | 3003.0+ | 3005+ | 5 of 5 |  |  |  |  | 90.0" in text
    assert (
        "worst fault beside 2000 kills, ms | 9.0 | 9999 faults; an ordinary one's 50.0 ms |" in text
    )
    assert "| patched: root's worst read of a pipe, ms | 9.0 | 400 reads |" in text
    assert "fork+exit near the limit | 0.0100 | 3 looks, 300 forks |" in text
    assert "10000 of other users | 20000 | 20000 … 20001 |" in text
    assert "| patched | 2 of 2 | 455 | 460 | 37 … 38 |" in text


def test_a_table_has_as_many_cells_in_every_line() -> None:
    for block in bench_docs.page(a_result()).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.strip().splitlines()}) == 1


def test_a_result_that_is_not_there_or_did_not_end(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no"):
        bench_docs.publish(Workspace(), tmp_path, docs=tmp_path)
    (tmp_path / "bench.json").write_text(to_json(a_result(finished=False)))
    with pytest.raises(UsageError, match="did not come to its end"):
        bench_docs.publish(Workspace(), tmp_path, docs=tmp_path)


def test_the_last_run_is_shown(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    with pytest.raises(UsageError, match="no results"):
        bench_docs.publish(Workspace(), None, results=tmp_path, docs=docs)
    for number, word in ((1, "--old"), (2, "--new")):
        folder = tmp_path / f"2026010{number}-000000-linux-6.1-bench"
        folder.mkdir()
        command = f"./inv bench {word} --source '/some where/tree'"
        machine = {"kernel source": "/some where/tree"}
        result = replace(a_result(Measured()), command=command, machine=machine)
        (folder / "bench.json").write_text(to_json(result))
    page = bench_docs.publish(Workspace(), None, results=tmp_path, docs=docs)
    assert "./inv bench --new --source DIR" in page.read_text()
    picture = (docs / "benchmarks-linux-6.1.svg").read_text()
    assert "not measured" in picture
    # Folders of this machine mean nothing to others.
    assert "some where" not in page.read_text() + picture


def test_the_page_keeps_other_kernels() -> None:
    command = "./inv bench --kernel goldfish-3.4 --source DIR"
    both = bench_docs.page(a_result())
    for size in ("first", "second"):
        result = replace(a_result(), command=command, machine={"host": size})
        both = bench_docs.page(result, both)
    assert [line for line in both.splitlines() if line.startswith("## ")] == [
        "## linux-6.1",
        "## goldfish-3.4",
        "## How it is measured",
    ]
    assert "| host CPU | 2 x Something |" in both
    assert "| host | second |" in both
    assert "| host | first |" not in both
    assert "`./inv bench --kernel goldfish-3.4 --source DIR`" in both
    assert both.count("an evaluation of 2020") == 1
    # Nothing moves when it is written again.
    assert bench_docs.page(a_result(), both) == both


def test_the_page_in_the_repository_has_the_form_that_is_kept() -> None:
    text = (REPO / "docs/benchmarks.md").read_text()
    again = bench_docs.page(replace(a_result(), command="./inv bench --kernel another"), text)
    kernels, method = text.split("## How it is measured")
    assert again.startswith(kernels)
    assert "## another" in again.removeprefix(kernels)
    assert again.endswith(f"## How it is measured{method}")


# --- the job, without a machine ---------------------------------------------------------


@pytest.mark.parametrize(("own", "status"), [(1003.0, EXIT_PASSED), (1030.0, EXIT_FAILED)])
def test_the_exit_status(tmp_path: Path, own: float, status: int) -> None:
    run = object.__new__(bench._Run)
    run.ws, run.result = Workspace(), a_result(a_run(own=own))
    run.folder = ResultFolder(tmp_path)
    assert bench._finish(run) == status
    run.save()
    saved = json.loads((tmp_path / "bench.json").read_text())
    assert {"figure", "goal", "value", "verdict"} <= saved["goals"][0].keys()
