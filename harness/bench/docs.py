# SPDX-License-Identifier: MIT
"""docs/benchmarks.md: a run of the benchmark as a page to read."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

from harness.bench import plan as bench_plan
from harness.bench import plot
from harness.bench.baselines import BASELINES, PATCHED, STOCK
from harness.bench.goals import (
    AGREEMENT_PAGES,
    AGREEMENT_PAGES_EACH,
    Judgement,
    agrees,
    judge,
    mean_over,
    over,
    overhead,
    time_ratio,
)
from harness.bench.result import JSON, BenchResult, Count, KillCase, Measured, Timing, from_json
from harness.bench.stats import Estimate, percentile
from harness.core.errors import UsageError
from harness.core.paths import REPO, RESULTS
from harness.targets.model import DEFAULT_TARGET
from harness.targets.table import TARGETS
from harness.ui.workspace import Workspace

_HEAD = """\
<!-- SPDX-License-Identifier: MIT -->
<!-- Written by ./inv bench-docs from the results of ./inv bench: change those, not this. -->
# Benchmarks
"""
_KERNEL = re.compile(r"^<!-- (\S+): -->\n.*?^<!-- :\1 -->\n", re.MULTILINE | re.DOTALL)
_KILLED = bench_plan.full().bystanders[PATCHED.name].processes
_METHOD = f"""\
## How it is measured

Instructions are counted, not timed: QEMU runs with `-icount shift=0,sleep=off` and one CPU, so
that the guest's clock goes on by a nanosecond with each instruction, whatever else the host does.
The layout of programs is not randomised there, or forks would copy now more, now fewer page
tables. A program (`ndk_tests/bench_work`) measures several times, and the first time is left out;
it is run five times in each setting, on a machine that was booted for it, so that all kernels do
the same in the same order. "Between" is between the smallest and the largest ratio of two runs in
the same place of that order. The clock's own interrupts are in it.

Wall-clock times are of guests with two CPUs that all run at the same time, one work after the other
on each of them in turns; a ratio is of times of the same round, with a 95 % interval by bootstrap.

For a kill the processes of a user with a limit grow a page at a time until the first is dead. Each
counts its pages, and remembers the time of each; what they had before is read from their page
tables. From outside the overshoot is their sum at the time that the kernel's log gives for the
kill, less the limit; from inside it is `uRSS` less `mm_max` of the kill's record. They agree if
they differ by at most {AGREEMENT_PAGES} pages and {AGREEMENT_PAGES_EACH} for each process. The
larger one counts. Processes stop to grow {bench_plan.MOST_ABOVE_MIB} MB above the limit: what is
marked + would have got further.

The times of a kill are measured on the machine whose clock counts instructions, a nanosecond each
("instructions" in the table of kills), because elsewhere a busy host would be measured. They begin
with the page that crossed the limit. A process of real-time priority reads every 0.1 ms how much of
the machine's memory is free, and adds what the processes have touched: only what is given back
changes that sum. Memory is free again when the sum has risen by 2 MB, so that the user is within
its limit. All of the victim's memory is free when the sum has risen by what the victim had touched,
but for 5 MB that the allocator's lists for each CPU may keep (for half of it, if it had less than
10 MB). The victim is gone when its parent could wait for it: this is what older sections call free
memory, and latency. The interval of a median and of a p99 is the 95 % one by the binomial
distribution.

Other users' waits are measured by the same clock. The worst of each run counts: the figure is the
median of the runs, "between" is the least and the most. While {_KILLED} processes of a user are
killed (fewer with `--quick`), because it is given a limit of one page, or on the stock kernel by
`kill(2)`, a bystander of another user touches fresh pages. It has a real-time priority, so it waits
for locks alone. A second bystander has none: it also waits for its turn on the CPU, on which the
killed processes end. Root reads, without blocking, from a pipe to which a user writes
{bench_plan.PIPE_LIMIT_MIB * 3 // 8} MB of a file that it has mapped and not touched. In the middle
of a `write()` it exceeds its limit of {bench_plan.PIPE_LIMIT_MIB} MB. The victim has
{bench_plan.PIPE_LIMIT_MIB * 3 // 4} MB and is stuck in its exit, because another process of the
user traces it.

A user forks about 1.4 MB below its limit; the looks at it are the different numbers of scans in the
kernel's trace events. What a look costs is counted in instructions: a user's limit is set to what
it is already, 200 times, and each time the user is looked at. The system calls for that are in the
figure.
"""


def page(result: BenchResult, before: str = "") -> str:
    """Return the text of docs/benchmarks.md; raise ValueError for a run that did not end.

    The page's sections on other kernels are taken from `before`, the present text.
    """
    if not result.finished:
        raise ValueError("the run did not come to its end")
    kernel = kernel_of(result)
    found = {match[1]: match[0] for match in _KERNEL.finditer(before)}
    found[kernel] = "\n".join(_of_kernel(kernel, result))
    order = [*TARGETS, *sorted(found.keys() - TARGETS.keys())]
    return "\n".join([_HEAD, *(found[name] for name in order if name in found), _METHOD])


def kernel_of(result: BenchResult) -> str:
    """Return the name of the kernel that was measured."""
    words = shlex.split(result.command)
    return words[words.index("--kernel") + 1] if "--kernel" in words else DEFAULT_TARGET


def picture(kernel: str) -> str:
    """Return the file name of a kernel's picture, which is beside the page."""
    return f"benchmarks-{kernel}.svg"


def _of_kernel(kernel: str, result: BenchResult) -> list[str]:
    """Return the page's section on one kernel, between marks by which page() finds it again."""
    measured = result.measured
    published = TARGETS[kernel].published if kernel in TARGETS else ""
    return [
        f"<!-- {kernel}: -->\n## {kernel}\n",
        _origin(result),
        "### Goals\n",
        _goals(judge(measured)),
        f"![What it costs, and how far above the limit]({picture(kernel)})\n",
        "### The alternatives\n",
        _alternatives(result),
        *_section("### Instructions, over stock's", _instructions(measured)),
        *_section("### Wall-clock, over stock's", _times(measured)),
        *_section("### Kills", _kills(measured)),
        *_section(
            f"### {bench_plan.CROWD_PROCESSES} processes of {bench_plan.CROWD_MIB} MB over a limit "
            f"of {bench_plan.CROWD_LIMIT_MIB} MB",
            _crowds(measured),
        ),
        *_section("### What others feel, and looks", _felt(measured)),
        *_section("### What others have published", published),
        f"<!-- :{kernel} -->\n",
    ]


def _section(title: str, text: str) -> list[str]:
    """Return a section; nothing if its text is empty."""
    return [f"{title}\n", text] if text else []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, right-aligned but for its first column; empty without rows."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return ""
    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join(["| " + " | ".join(head) + " |", rule, *lines]) + "\n"


def _origin(result: BenchResult) -> str:
    rows = [("command", f"`{result.command}`"), ("when", result.when), *result.machine.items()]
    rows += [(f"kernel: {name}", f"`{release}`") for name, release in result.kernels.items()]
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def _goals(judgements: Sequence[Judgement]) -> str:
    return table(
        ("figure", "goal", "measured", "between", "verdict", "the alternatives"),
        (
            (one.goal.figure, one.goal.goal, one.value, one.spread, one.verdict.value, one.beside)
            for one in judgements
        ),
    )


def _alternatives(result: BenchResult) -> str:
    return "".join(
        f"- **{name}**: {BASELINES[name].text}\n" for name in result.kernels if name in BASELINES
    )


def _ratio(estimate: Estimate | None, form: str = "{:.4f}") -> str:
    if estimate is None:
        return ""
    low, high = form.format(estimate.low), form.format(estimate.high)
    value = form.format(estimate.value)
    return value if low == high else f"{value} ({low} … {high})"


def _instructions(measured: Measured) -> str:
    """Return a table with a row for each setting and work, and a column for each kernel."""
    names = _compared(measured.counts)
    keys = dict.fromkeys(
        (c.setting, c.work)
        for c in measured.counts
        if c.baseline in names and c.work != bench_plan.LOOK.name
    )
    return table(
        ("setting, work", *names),
        (
            (
                f"{bench_plan.SETTINGS[setting].text}: {work}",
                *(_ratio(overhead(measured, name, setting, work)) for name in names),
            )
            for setting, work in sorted(keys, key=_place)
        ),
    )


def _compared(values: Sequence[Count] | Sequence[Timing]) -> list[str]:
    """Return the names of the kernels, but for the stock one, that have some of the values."""
    measured = {one.baseline for one in values} - {STOCK.name}
    return [name for name in BASELINES if name in measured]


def _place(key: tuple[str, str]) -> tuple[int, int]:
    """Return the sort key: settings in their order, and in each the works in theirs."""
    works = ["touch", "touch-less", "fork", "storm", *(w.name for w in bench_plan.REPORT_2020)]
    return list(bench_plan.SETTINGS).index(key[0]), works.index(key[1])


def _times(measured: Measured) -> str:
    names = _compared(measured.timings)
    works = dict.fromkeys(t.work for t in measured.timings)
    return table(
        ("work", *names),
        (
            (work, *(_ratio(time_ratio(measured, name, work), "{:.3f}") for name in names))
            for work in works
        ),
    )


def _kills(measured: Measured) -> str:
    return table(
        (
            *("kernel, processes and limit", "kills", "mean overshoot", "worst", "agree"),
            *("ms to free memory: median", "p99", "to all of it: median", "p99"),
            *("until gone: median", "p99"),
        ),
        (_kill_row(case) for case in measured.kill_cases),
    )


def _kill_row(case: KillCase) -> tuple[str, ...]:
    clock = ", instructions" if case.counted else ""
    title = f"{case.baseline}: {case.processes} at {case.limit_mib} MB{clock}"
    if not case.kills:
        return (title, f"0 of {case.wanted}", *[""] * 9)
    pages = [over(kill) for kill in case.kills]
    capped = "+" if any(kill.capped for kill in case.kills) else ""
    recorded = any(kill.inside is not None for kill in case.kills)
    agreeing = sum(agrees(case, kill) for kill in case.kills)
    return (
        title,
        f"{len(case.kills)} of {case.wanted}",
        f"{mean_over(case).value:.1f}{capped}",
        f"{max(pages)}{capped}",
        f"{agreeing} of {len(case.kills)}" if recorded else "no record",
        *_milliseconds([kill.free_us for kill in case.kills]),
        *_milliseconds([kill.all_free_us for kill in case.kills]),
        *_milliseconds([kill.latency_us for kill in case.kills]),
    )


def _milliseconds(us: Sequence[int | None]) -> tuple[str, str]:
    """Return the median and the p99 of times, in ms; nothing if one of them is not known."""
    known = [one / 1000 for one in us if one is not None]
    if len(known) < len(us):
        return "", ""
    return f"{median(known):.1f}", f"{percentile(known, 0.99):.1f}"


def _crowds(measured: Measured) -> str:
    rows = []
    for name in BASELINES:
        found = [one for one in measured.crowds if one.baseline == name]
        if found:
            times = [one.us / 1000 for one in found]
            kills = [one.kills for one in found]
            within = sum(one.within for one in found)
            rows.append(
                (
                    name,
                    f"{within} of {len(found)}",
                    f"{median(times):.0f}",
                    f"{max(times):.0f}",
                    f"{min(kills)} … {max(kills)}",
                )
            )
    return table(("kernel", "within the limit again", "median ms", "worst ms", "killed"), rows)


def _felt(measured: Measured) -> str:
    """Return a table of each run's waits and looks, and of what a look costs."""
    rows = [
        (
            f"{one.baseline}: a bystander's worst fault beside {one.killed} kills, ms",
            f"{one.worst_us / 1000:.1f}",
            f"{one.faults} faults; an ordinary one's {one.ordinary_us / 1000:.1f} ms",
        )
        for one in measured.massacres
    ]
    rows += [
        (
            f"{one.baseline}: root's worst read of a pipe, ms",
            f"{one.worst_us / 1000:.1f}",
            f"{one.reads} reads",
        )
        for one in measured.pipes
    ]
    rows += [
        (
            f"{one.baseline}: looks for each fork+exit near the limit",
            f"{one.looks / one.forks:.4f}",
            f"{one.looks} looks, {one.forks} forks",
        )
        for one in measured.looks
    ]
    rows += [
        (
            f"{one.baseline}: instructions of a look, {bench_plan.SETTINGS[one.setting].text}",
            f"{fmean(one.values):.0f}",
            f"{min(one.values):.0f} … {max(one.values):.0f}",
        )
        for one in measured.counts
        if one.work == bench_plan.LOOK.name
    ]
    return table(("what, in each run", "found", "of, or between"), rows)


def _without_folders(result: BenchResult) -> BenchResult:
    """Return the result with DIR for each folder of this machine (a local source)."""

    def told(word: str) -> str:
        return "DIR" if word.startswith("/") else word

    return replace(
        result,
        command=shlex.join(map(told, shlex.split(result.command))),
        machine={name: told(value) for name, value in result.machine.items()},
    )


def publish(
    ws: Workspace, result: Path | None, results: Path = RESULTS, docs: Path = REPO / "docs"
) -> Path:
    """Write the page and its picture into `docs`; return the page's path.

    The page's sections on other kernels stay. Raise UsageError if there is no such result, or
    it cannot be shown.
    """
    folder = result or _last(results)
    written = docs / "benchmarks.md"
    try:
        loaded = _without_folders(from_json((folder / JSON).read_text()))
        text = page(loaded, written.read_text() if written.is_file() else "")
    except OSError as error:
        raise UsageError(f"there is no {folder / JSON}", hint="./inv bench makes one") from error
    except ValueError as error:
        raise UsageError(f"{folder / JSON}: {error}", hint="./inv bench makes another") from error
    with tempfile.TemporaryDirectory() as scratch:
        plot.draw(loaded, Path(scratch))
        shutil.copyfile(Path(scratch, f"{plot.NAME}.svg"), docs / picture(kernel_of(loaded)))
    written.write_text(text)
    ws.reporter.result(f"{written}, from {folder}")
    return written


def _last(results: Path) -> Path:
    """Return the folder of the last benchmark run: folder names begin with the time."""
    found = sorted(
        path.parent for path in results.glob(f"*/{JSON}") if not path.parent.is_symlink()
    )
    if not found:
        raise UsageError("there are no results of the benchmark", hint="./inv bench makes some")
    return found[-1]
