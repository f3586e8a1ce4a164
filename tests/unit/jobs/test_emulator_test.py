# SPDX-License-Identifier: MIT
"""The main job around its device: what ends it, what it returns, what it leaves behind.

The device is not real here: these are the paths on which it fails.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bundles
import pytest
from emulator_bench import COMMIT, Bench
from fake_guest import BOOT_LOG, QEMU, at, ctrl_c, panicked, without_record
from rich.console import Console

from harness.bundle import built
from harness.core.errors import (
    BootError,
    BuildError,
    InfrastructureError,
    SourceMovedError,
    UsageError,
)
from harness.kernel_output.reports import find_reports
from harness.results.folder import LATEST
from harness.scenarios.catalogue import POLICIES, Scenario
from harness.scenarios.evidence import (
    KILL_RECORD,
    PROC,
    PROC_MM_LIMITS,
    Meanwhile,
    Peak,
    ScenarioUsage,
    UsageSample,
    parse_decisions,
    parse_usage,
)
from harness.scenarios.observations import Observations
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import GitSource
from harness.ui.events import Kill, RunBegin, RunEnd, ScenarioBegin, ScenarioEnd, decode
from harness.ui.progress import Reporter


def test_a_run_that_passes(bench: Bench) -> None:
    assert bench.run("all") == 0
    assert bench.verdict["passed"] is True
    assert {one["policy"] for one in bench.verdict["scenarios"]} == {"", *POLICIES}
    assert bench.output.getvalue().splitlines()[-1].startswith("PASS: ")


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("policy", "worst"),
        ("trigger", "timer"),
        ("scenarios", ("reprot",)),
        ("kcidb_origin", "My Lab"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_done(bench: Bench, option: str, word: Any) -> None:
    with pytest.raises(UsageError, match=option.removeprefix("kcidb_").removesuffix("s")):
        bench.run(**{option: word})
    assert not bench.results.exists()


def test_a_build_that_fails_leaves_a_complete_folder(bench: Bench) -> None:
    bench.build_error = BuildError("build kernel failed")
    with pytest.raises(BuildError):
        bench.run()
    assert bench.verdict["result"] == "FAIL: build kernel failed"
    names = {path.name for path in (bench.results / LATEST).iterdir()}
    assert names == {
        *("command.txt", "kernel.log", "kills.json", "verdict.json"),
        *("junit.xml", "results.ktap", "kcidb.json", "report.html"),
    }


def test_ctrl_c_leaves_a_complete_folder_with_what_was_seen_before(bench: Bench) -> None:
    bench.change = at("course", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.verdict["result"] == "FAIL: KeyboardInterrupt"
    assert bench.verdict["finished"] is False
    assert parse_decisions((bench.results / LATEST / "decisions.json").read_text())


UPTIME_LOG = f"{BOOT_LOG}<13>[    1.250000] goldfish-oom: uptime 1.00\n"


def used(bench: Bench) -> tuple[ScenarioUsage, ...]:
    """What usage.json says of scenarios that all go on from 1.5 to 20 s."""
    bench.log = UPTIME_LOG

    def meanwhile(_: Scenario, seen: Observations) -> Observations:
        assert seen.limits is not None
        found = Meanwhile(1.5, 20.0, read_at=15.0, read=seen.limits)
        return replace(seen, meanwhile=found, log=UPTIME_LOG)

    bench.change = meanwhile
    assert bench.run(scenarios=("report", "below-limit")) == 0
    return parse_usage((bench.results / LATEST / "usage.json").read_text())


def test_who_used_what_and_died_of_whom_is_kept_by_the_logs_clock(bench: Bench) -> None:
    bench.watched = ["usage: time=2.000000, uid=10070, rss=4096"]
    usage = used(bench)
    assert [one.scenario for one in usage] == ["report", "below-limit"]
    seen = [sample for one in usage for sample in one.samples if sample.source == PROC]
    assert seen == [UsageSample(2.25, 10070, 4096, None)] * 2
    folder = bench.results / LATEST
    (decision,) = parse_decisions((folder / "decisions.json").read_text())
    assert (decision.scenario, decision.uid) == ("report", 10070)


def test_the_kernels_own_sums_are_in_it_however_little_was_seen(bench: Bench) -> None:
    bench.watched = []
    report, below = used(bench)
    kill, read = report.samples
    assert (kill.source, read.source) == (KILL_RECORD, PROC_MM_LIMITS)
    assert (kill.time, read.time) == (12.0, 15.25)
    assert kill.rss > 100_000_000
    assert {kill.mm_max, read.mm_max} == {100_000_000}
    assert report.peaks == (Peak(10070, kill.rss, 100_000_000),)
    # Of a user that nobody was killed of.
    assert [one.source for one in below.samples] == [PROC_MM_LIMITS]
    assert [one.uid for one in below.peaks] == [10070]


def test_what_the_guest_says_late_is_not_lost(bench: Bench) -> None:
    bench.watched = []
    bench.late = [f"usage: time={at}.000000, uid=10070, rss=4096" for at in (1, 2, 30)]
    seen = [sample for one in used(bench) for sample in one.samples if sample.source == PROC]
    assert [one.time for one in seen] == [2.25, 2.25]


def test_missing_evidence_alone_is_no_verdict_on_the_kernel(bench: Bench) -> None:
    bench.change = lambda _, seen: replace(seen, limits=None)
    with pytest.raises(InfrastructureError, match="infrastructure failed in report"):
        bench.run(scenarios=("report", "course"))
    assert len(bench.verdict["scenarios"]) == 4


def test_a_warning_at_boot_fails_the_test(bench: Bench) -> None:
    bench.log += "<4>[    0.100000] something is odd\n"
    assert bench.run(scenarios=("report",)) == 1
    assert bench.verdict["result"] == "FAIL: kernel complained in boot"


def test_on_an_android_only_a_broken_kernel_fails_the_log(bench: Bench) -> None:
    options: dict[str, Any] = {"target": GOLDFISH_3_4.on("sdk"), "scenarios": ("report",)}
    bench.log += "<4>[    0.100000] healthd: WARNING: no battery\n"
    bench.log += "<6>[    0.200000] send sigkill to 612 (browser), adj 9, size 4096\n"
    assert bench.run(**options) == 0
    assert bench.run(target=GOLDFISH_3_4, scenarios=("report",)) == 1
    bench.log += "<4>[    0.300000] Internal error: Oops: 805 [#1] PREEMPT ARM\n"
    assert bench.run(**options) == 1
    assert bench.verdict["result"] == "FAIL: kernel complained in boot"


def test_a_hung_task_is_told_as_fast_as_the_board_allows(bench: Bench) -> None:
    for target, seconds in ((LINUX_6_1, 10), (GOLDFISH_3_4.on("sdk"), 60)):
        bench.run(target=target, scenarios=("report",))
        assert f"echo {seconds} > /proc/sys/kernel/hung_task_" in bench.commands[-1]


def test_the_source_is_in_the_results(bench: Bench) -> None:
    bench.run(scenarios=("report",))
    assert bench.verdict["source"] == {
        "origin": "the fake kernel",
        "commit": COMMIT,
        "changed files": ["a.c"],
    }


def test_what_a_branch_was_at_is_what_is_repeated(bench: Bench) -> None:
    assert isinstance(GOLDFISH_3_4.source, GitSource)
    bench.run(target=GOLDFISH_3_4, scenarios=("report",))
    assert bench.command == (
        "./inv emulator-test --policy rss --trigger alloc --kernel goldfish-3.4 --emulator qemu"
        f" --source {GOLDFISH_3_4.source.url}@{COMMIT} --jobs 1 --scenario report\n"
    )
    bench.run(target=GOLDFISH_3_4, scenarios=("report",), source="/a b")
    assert bench.command.count("--source") == 1
    assert " --source '/a b' " in bench.command


def test_what_the_kernel_says_of_its_mistakes_is_told_by_its_title(bench: Bench) -> None:
    log = (Path(__file__).parents[1] / "kernel_logs" / "oops-null-6.1.log").read_text()

    def die(scenario: Scenario, seen: Observations) -> Observations:
        folder = (bench.results / LATEST).resolve()
        (folder / "console.log").write_text(log)
        return panicked(seen)

    bench.change = die
    assert bench.run() == 1
    (expected,) = find_reports(log)
    (report,) = bench.verdict["kernel reports"]
    assert (report["guest"], report["title"]) == (1, expected.title)
    assert expected.title in (bench.results / LATEST / "kernel_reports.txt").read_text()
    assert f"kernel report: {expected.title}" in bench.output.getvalue()


def test_what_differs_from_the_stock_kernel_is_told(bench: Bench) -> None:
    assert bench.run(scenarios=("report", "privileges"), differential=True) == 0
    told = json.loads((bench.results / LATEST / "differential.json").read_text())
    differing = {(one["cell"], one["stock"], one["patched"]) for one in told if one["differs"]}
    assert ("main: child 5, 100 MB", "lived", "killed") in differing
    assert ("kill records", "0", "1") in differing
    assert ("call 1: u0_a70 sets u0_a70 to 100 MB", "errno 38", "0") in differing
    assert not [one for one in told if one["differs"] != (one["stock"] != one["patched"])]
    assert json.loads((bench.results / LATEST / "stock" / "verdict.json").read_text())["passed"]
    assert bench.command.endswith(" --differential --scenario report --scenario privileges\n")


def test_a_stock_kernel_that_fails_tells_nothing_of_ours(bench: Bench) -> None:
    bench.change_stock = lambda _, seen: replace(seen, died="the kernel panicked")
    with pytest.raises(InfrastructureError, match="stock kernel did something else"):
        bench.run(scenarios=("report",), differential=True)
    assert bench.verdict["scenarios"][1]["outcome"] == "PASSED"
    assert bench.verdict["passed"] is False


def test_kernels_of_two_sources_are_not_compared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = bench.built
    source = SimpleNamespace(**{**vars(ours.kernel.source), "key": "another"})
    kernel: Any = SimpleNamespace(**{**vars(ours.kernel), "source": source})
    edited = replace(ours, kernel=kernel)
    builds = iter((ours, edited))
    monkeypatch.setattr("harness.build.equipment.build", lambda *_: next(builds))
    with pytest.raises(SourceMovedError, match="the fake kernel changed between the builds"):
        bench.run(scenarios=("report",), differential=True)


def test_our_kernel_is_not_compared_where_it_died(bench: Bench) -> None:
    bench.change = lambda _, seen: panicked(seen)
    assert bench.run(scenarios=("report",), differential=True) == 1
    assert not (bench.results / LATEST / "stock").exists()


def test_what_is_told_as_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.change = at("course", without_record)
    bench.ws = replace(bench.ws, reporter=Reporter(mode="json"))
    bench.run(scenarios=("report", "course"))
    bench.ws.reporter.close(1)
    found = [decode(line).event for line in capsys.readouterr().out.splitlines()]
    begin, end = found[0], found[-1]
    assert isinstance(begin, RunBegin)
    assert isinstance(end, RunEnd)
    assert shlex.join(begin.command) == bench.command.strip()
    assert (begin.kernel, begin.policy, begin.trigger) == ("linux-6.1", "rss", "alloc")
    begun = [event for event in found if isinstance(event, ScenarioBegin)]
    ended = [event for event in found if isinstance(event, ScenarioEnd)]
    places = [(one.policy, one.scenario) for one in begin.planned]
    assert [(one.policy, one.scenario) for one in begun] == places
    assert [(one.policy, one.scenario) for one in ended] == places
    assert [one.outcome for one in ended] == [
        *("NOTHING_TO_KILL", "PASSED", "RECORDS_DISAGREE", "NOTHING_TO_KILL"),
    ]
    kills = [event for event in found if isinstance(event, Kill)]
    assert [one.scenario for one in kills] == ["report"]
    assert end == RunEnd(bench.verdict["result"], 1, str(bench.results / bench.folder))


def test_quietly_there_is_one_line(bench: Bench) -> None:
    console = Console(file=bench.output, width=160)
    bench.ws = replace(bench.ws, reporter=Reporter(console, mode="quiet"))
    assert bench.run() == 0
    assert bench.output.getvalue() == bench.verdict["result"] + "\n"


def test_what_was_booted_is_in_the_results(bench: Bench) -> None:
    bench.run(scenarios=("report",))
    found = built.read((bench.results / LATEST / built.FILE).read_text())
    assert found.scenarios is not None
    assert (found.scenarios.policy, found.scenarios.names) == ("rss", ("report",))
    assert (found.qemu, found.packages) == (QEMU, bundles.PACKAGES)
    assert found.kernel.commit == COMMIT
    assert all(part.path(bench.ws.cache).is_file() for part in found.parts)


def handed_on(bench: Bench) -> list[str]:
    return [line for line in bench.output.getvalue().splitlines() if "hand it on" in line]


def test_only_a_run_that_failed_says_how_to_hand_it_on(bench: Bench) -> None:
    bench.run(scenarios=("report",))
    assert handed_on(bench) == []
    bench.change = lambda _, seen: without_record(seen)
    assert bench.run(scenarios=("report",)) == 1
    folder = (bench.results / LATEST).resolve()
    assert bench.output.getvalue().splitlines()[-2:] == [
        f"to hand it on: ./inv bundle {folder}",
        "FAIL: records disagree in report (policy rss)",
    ]


def test_a_kernel_that_does_not_come_up_can_be_handed_on(bench: Bench) -> None:
    def fail(*_: object) -> None:
        raise BootError("the kernel panicked")

    bench.boot = fail
    with pytest.raises(BootError):
        bench.run()
    assert len(handed_on(bench)) == 1


def test_a_run_that_somebody_ended_or_that_built_nothing_is_not_to_be_handed_on(
    bench: Bench,
) -> None:
    bench.change = ctrl_c
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.build_error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert not (bench.results / LATEST / built.FILE).exists()
    assert handed_on(bench) == []


def test_a_run_on_an_android_emulator_is_not_to_be_handed_on(bench: Bench) -> None:
    bench.change = lambda _, seen: without_record(seen)
    assert bench.run(target=GOLDFISH_3_4.on("sdk"), scenarios=("report",)) == 1
    assert handed_on(bench) == []
