# SPDX-License-Identifier: MIT
"""Result folders of invented runs, as a run would leave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from summaries import summary

from harness.core.typed_json import to_text
from harness.kernel_output.records import KillRecord, format_record
from harness.kernel_output.reports import GuestReport, find_reports
from harness.results.folder import CONSOLE_LOG, ResultFolder
from harness.results.run_result import RunResult, ScenarioResult, kills_json, verdict_json
from harness.scenarios.evidence import (
    DECISIONS,
    USAGE,
    Candidate,
    Decision,
    ScenarioUsage,
    UsageSample,
)
from harness.scenarios.verdict import Outcome
from harness.ui.events import Planned

KERNEL_LOGS = Path(__file__).parents[1] / "unit" / "kernel_logs"
# Texts that have an effect if they are not shown as text.
SCRIPT = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
HOSTILE = (
    *(SCRIPT, "'\"><b>bold", "</style></script></svg>", "a\nb\r\tc", "\x00\x1b[31m\x7f\x85"),
    *("\u202egnp.exe\u2066", "\u2028\u2029\u200b\ufeff", "\ud800", "{{ 7 * 7 }}", "&lt;b&gt;"),
)
APP = 10070
LIMIT = 100_000_000


def kill(time: float, pid: int, comm: str = "oom_test_kernel", **changes: Any) -> KillRecord:
    rss = changes.pop("rss", 97_226_752)
    record = KillRecord(time, APP, LIMIT + 3840, LIMIT, pid, rss, None, "rss", "alloc", None, comm)
    return replace(record, **changes)


def judged(
    scenario: str,
    outcome: Outcome = Outcome.PASSED,
    *reasons: str,
    policy: str = "rss",
    kills: Sequence[KillRecord] = (),
    seconds: float = 1.25,
) -> ScenarioResult:
    return ScenarioResult(
        scenario, policy, "alloc", outcome, reasons, tuple(kills), seconds=seconds
    )


def log_of(*verdicts: ScenarioResult, boot: int = 100) -> str:
    """Return a kernel log: a boot of `boot` lines, and each scenario's markers and records."""
    lines = [f"<6>[{number / 100:12.6f}] driver {number}: probed" for number in range(boot)]
    for number, one in enumerate(verdicts, 1):
        if one.policy:
            lines.append(f"<13>[{number * 5:12.6f}] goldfish-oom: begin {number:016x}")
            lines += [
                f"<3>[{record.time or 0:12.6f}] {format_record(record)}" for record in one.kills
            ]
            lines.append(f"<13>[{number * 5 + 4:12.6f}] goldfish-oom: end {number:016x}")
    return "".join(f"{line}\n" for line in lines)


def usage(scenario: str, kills: Sequence[KillRecord], began: float) -> ScenarioUsage:
    """Return samples of APP, which grows to each kill and falls, and of a user without a limit."""
    found = [UsageSample(began, APP, 0, None)]
    rest = 2_000_000
    for record in kills:
        assert record.time is not None
        before = found[-1].time
        steps = 12
        for step in range(steps):
            share = step / steps
            size = rest + int(share * (record.user_rss - rest))
            found.append(
                UsageSample(
                    round(before + share * (record.time - before), 3), APP, size, record.mm_max
                )
            )
        rest = record.user_rss - record.rss
        found.append(UsageSample(record.time + 0.02, APP, rest, record.mm_max))
    found += [UsageSample(began + step / 4, APP + 1, 20_000_000, None) for step in range(8)]
    return ScenarioUsage(scenario, "rss", "alloc", began, tuple(found))


def decision(scenario: str, record: KillRecord, expected: int | None) -> Decision:
    """Return a decision: what the kernel chose, and what the model chose, if it was asked."""
    candidates = tuple(
        Candidate(pid, size, size * 4096, 0, comm=record.comm)
        for pid, size in ((record.pid, 23_737), (record.pid + 1, 4_882), (record.pid + 2, 2_441))
    )
    time = record.time or 0.0
    agrees = expected in (None, record.pid)
    return Decision(
        *(time, record.uid, "rss", record.pid, candidates, expected),
        agrees=agrees,
        scenario=scenario,
        trigger="alloc",
    )


def leave(
    root: Path,
    run: RunResult,
    log: str,
    *,
    name: str = "20261126-151935-linux-6.1-rss",
    usages: Sequence[ScenarioUsage] | None = None,
    decisions: Sequence[Decision] | None = None,
) -> Path:
    """Write the folder of a run below `root`; return its path."""
    folder = root / name
    folder.mkdir(parents=True)
    results = ResultFolder(folder)
    results.write(run, {1: log})
    results.write_evidence(usages or (), decisions or ())
    (folder / CONSOLE_LOG).touch()
    # An older harness did not write such a file.
    if usages is None:
        (folder / USAGE).unlink()
    if decisions is None:
        (folder / DECISIONS).unlink()
    return folder


def run_of(*judgements: ScenarioResult, **changes: Any) -> RunResult:
    places = tuple(one.place for one in judgements)
    fields: dict[str, Any] = {
        "policy": "rss",
        "command": ("./inv", "emulator-test", "--policy", "rss", "--trigger", "alloc"),
        "planned": places,
        "judged": judgements,
        "machine": "QEMU's virt with a Cortex-A15",
        "emulator": "QEMU emulator version 7.2.22",
    }
    return summary(**{**fields, **changes})


# --- a run of each kind --------------------------------------------------------------------


def passing(root: Path, name: str = "20261126-151935-linux-6.1-rss") -> Path:
    first, second = kill(7.37, 95), kill(12.4, 110, rss=60_000_000)
    third = kill(13.1, 112, rss=50_000_000)
    report, small = judged("report", kills=[first]), judged("many-small", kills=[second, third])
    run = run_of(
        judged("boot", Outcome.NOTHING_TO_KILL, policy="", seconds=0.0),
        report,
        judged("below-limit", Outcome.NOTHING_TO_KILL),
        small,
        judged("whole log", Outcome.NOTHING_TO_KILL, policy="", seconds=0.0),
    )
    return leave(
        root,
        run,
        log_of(report, small),
        name=name,
        usages=[usage("report", [first], 5.0), usage("many-small", [second, third], 10.0)],
        decisions=[
            decision("report", first, first.pid),
            decision("many-small", second, None),
            decision("many-small", third, third.pid),
        ],
    )


def wrong_victim(root: Path, name: str = "20261126-152702-linux-6.1-rss") -> Path:
    first = kill(7.37, 95)
    wrong = judged(
        "course",
        Outcome.WRONG_VICTIM,
        "main child 0 died; main child 1 should have, alone",
        kills=[first],
    )
    run = run_of(judged("report", kills=[]), wrong)
    return leave(
        root,
        run,
        log_of(wrong),
        name=name,
        usages=[usage("course", [first], 5.0)],
        decisions=[decision("course", first, 96)],
    )


def oops(root: Path, name: str = "20261126-153224-linux-6.1-rss") -> Path:
    log = (KERNEL_LOGS / "oops-null-6.1.log").read_text()
    line = next(line for line in log.splitlines() if "Unable to handle kernel" in line)
    died = judged("report", Outcome.KERNEL_DIED, f"oops: {line}")
    planned = (Planned("rss", "report"), Planned("rss", "course"))
    run = run_of(died, planned=planned, finished=False, problem="the kernel died")
    (report,) = find_reports(log)
    decoded = report.text.replace("+0x84/0x208", "+0x84/0x208 (scan.c:9)")
    run = replace(run, reports=(GuestReport(1, report.kind, report.title, decoded),))
    return leave(root, run, log, name=name)


def infrastructure(root: Path, name: str = "20261126-143617-linux-6.1-rss") -> Path:
    failed = judged("report", Outcome.INFRASTRUCTURE_FAILED, "adb went away")
    problem = "the machine (QEMU) was killed by SIGKILL"
    return leave(root, run_of(failed, finished=False, problem=problem), "", name=name)


def interrupted(root: Path, name: str = "20261126-143604-linux-6.1-all") -> Path:
    first = judged("report", kills=[kill(7.37, 95)])
    planned = (first.place, Planned("rss", "course"), Planned("rss", "many-small"))
    run = run_of(first, planned=planned, finished=False, problem="KeyboardInterrupt", policy="all")
    return leave(root, run, log_of(first), name=name)


def empty(root: Path, name: str = "20261126-143603-linux-6.1-rss") -> Path:
    return leave(root, run_of(finished=False, release="", origin="", toolchain=""), "", name=name)


def hostile(root: Path, name: str = "20261126-160000-linux-6.1-rss") -> Path:
    """Write a run in which every text that may come from outside is hostile."""
    everything = "".join(HOSTILE)
    record = kill(7.37, 95, "<b>\n\u00ff\x1b\u0085x</b>")
    bad = judged(everything, Outcome.WRONG_VICTIM, *HOSTILE, policy=everything, kills=[record])
    run = run_of(
        bad,
        kernel=everything,
        release=everything,
        toolchain=everything,
        machine=everything,
        emulator=everything,
        origin=f"https://user:secret@a.example/{everything}",
        commit=everything,
        changed=HOSTILE,
        policy=everything,
        trigger=everything,
        # command.txt is written in UTF-8, which has no lone surrogates.
        command=("./inv", everything.replace("\ud800", "")),
        problem=everything,
    )
    log = log_of(bad, boot=3) + "".join(
        f"<12>[    9.0] {text}\n" for text in HOSTILE if "\ud800" not in text
    )
    key = {"scenario": everything, "policy": everything, "trigger": "alloc"}
    folder = leave_without_junit(root, run, log, name)
    shown = usage("x", [record], 5.0)
    (folder / USAGE).write_text(to_text([{**asdict(shown), **key}]))
    choice = decision("x", record, 96)
    choice = replace(choice, candidates=tuple(replace(c, comm="<i>\n") for c in choice.candidates))
    (folder / DECISIONS).write_text(to_text([{**asdict(choice), **key}]))
    (folder / CONSOLE_LOG).write_bytes(
        b"[   10.0] \xff\xfe\x00<script>document.title='owned'</script>\r\n"
    )
    return folder


def leave_without_junit(root: Path, run: RunResult, log: str, name: str) -> Path:
    """Write only the files that the page is made from: other formats refuse some of the texts."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "command.txt").write_text(" ".join(run.command))
    (folder / "kernel.log").write_text(log)
    (folder / "kills.json").write_text(kills_json(run))
    (folder / "verdict.json").write_text(verdict_json(run))
    return folder


def long_log(root: Path, name: str = "20261126-161000-linux-6.1-rss", lines: int = 20_000) -> Path:
    first = kill(7.37, 95)
    one = judged("report", kills=[first])
    return leave(root, run_of(one), log_of(one, boot=lines - 3), name=name)
