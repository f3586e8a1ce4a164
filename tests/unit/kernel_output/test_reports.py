# SPDX-License-Identifier: MIT
"""Kernel reports: cut out of saved logs whole, and titled; nothing else is taken for one."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.paths import KERNEL_PATCHES
from harness.kernel_output.records import lines_of
from harness.kernel_output.reports import KernelReport, find_reports
from harness.kernel_output.troubles import LINES as TABLE

LOGS = sorted((Path(__file__).parents[1] / "kernel_logs").glob("*.log"))
# Lines of a saved log that belong to no report.
OUTSIDE = re.compile(
    r"(?:.*\] )?(?:Booting Linux on physical CPU .*|Linux version .*|Run /init as init process"
    r"|goldfish-oom: (?:begin|end) \w+|(?:.*a line of somebody else's)|uid=.*|mm_limits: .*"
    r"|a program's words .*|/ # [^\[]*|Segmentation fault|.*loading out-of-tree module.*"
    r"|init: BUG: .*|BUG: KASAN: use-after-free in a_programs_own_words.*|note: .* exited .*"
    r"|random: crng init done|kmemleak: Automatic .* ended|Disabling lock debugging .*|\s*)"
)
# In these, lines that look like a report's are in none: a begin that nothing follows, a rest.
ODD = {"clean-6.1", "cut-before-6.1"}
KINDS = {line.kind.name for line in TABLE}
# Kinds that are no reports of the kernel on itself.
NO_REPORTS = {"stock OOM kill", "allocation failure"}
CUT_OFF = "report cut off behind its first line"
# Traces of several CPUs: what one of them writes is in the other's report.
SPANNING = {"panic", "RCU stall", "soft lockup"}


PANIC = "Kernel panic - not syncing: "


def load(path: Path) -> tuple[list[str], str]:
    """The titles that are expected, and the log."""
    title, text = path.read_bytes().decode("latin-1").split("\n", 1)
    titles = title.removeprefix("#").strip()
    return (titles.split(" | ") if titles else []), text


CONTENTS = {path.stem: load(path)[1] for path in LOGS}
# Each a single report of a single writer.
PLAIN = [
    text
    for text in CONTENTS.values()
    if len(found := find_reports(text)) == 1
    and found[0].kind not in SPANNING
    and "Kernel panic" not in text
    and not re.search(r"\]\[ +[TC]\d+\]", text)
]


def raw(*texts: str, level: int = 4) -> str:
    """A kernel log of these texts."""
    return "".join(f"<{level}>[{n / 1000 + 5:12.6f}] {text}\n" for n, text in enumerate(texts))


def with_caller(log: str, caller: str) -> str:
    """The same log of a kernel that says who writes."""
    return re.sub(r"(\[ *\d+\.\d{6}\])", rf"\1[{caller:>6}]", log)


def check(log: str) -> tuple[KernelReport, ...]:
    """The reports, after what must be true of those of any log."""
    reports = find_reports(log)
    lines = [line for line, _ in lines_of(log)]
    for report in reports:
        assert report.kind in KINDS - NO_REPORTS
        assert report.title
        assert report.title == " ".join(report.title.split())
        assert report.title.isprintable()
        taken = report.text.removesuffix("\n").split("\n")
        assert taken[0] == lines[report.begin]
        rest = iter(lines[report.begin :])
        assert all(line in rest for line in taken), "lines are not in the log's order"
    assert all(first.begin < second.begin for first, second in pairwise(reports))
    return reports


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_saved_logs(path: Path) -> None:
    titles, text = load(path)
    assert [report.title for report in check(text)] == titles


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_reports_are_whole(path: Path) -> None:
    _, text = load(path)
    inside = [line for report in find_reports(text) for line in report.text.splitlines()]
    for line in (line for line, _ in lines_of(text)):
        if line in inside:
            inside.remove(line)
            assert not OUTSIDE.fullmatch(line) or line.rstrip().endswith("]"), line
        elif path.stem not in ODD:
            assert OUTSIDE.fullmatch(line), line
    assert inside == []


def test_each_kind_is_met_in_a_saved_log() -> None:
    met = {report.kind for text in CONTENTS.values() for report in find_reports(text)}
    assert met == KINDS - NO_REPORTS


@pytest.mark.parametrize("text", PLAIN)
def test_callers_and_carriage_returns_do_not_matter(text: str) -> None:
    (report,) = find_reports(text)
    told = replace(report, text=with_caller(report.text, "T77"))
    assert find_reports(with_caller(text, "T77")) == (told,)
    assert find_reports(text.replace("\r", "").replace("\n", "\r\n")) == (report,)


@given(st.sampled_from(PLAIN), st.sampled_from(PLAIN), st.randoms())
def test_two_writers_are_told_apart(first: str, second: str, random: Random) -> None:
    waiting = [
        # All in the same seconds, as they were written.
        re.sub(r"(?m)\[ *\d+\.\d", "[    7.0", with_caller(text, caller)).splitlines()
        for text, caller in ((first, "T1"), (second, "C1"))
    ]
    alone = [find_reports("\n".join(log))[0] for log in waiting]
    mixed = []
    while any(waiting):
        mixed.append(random.choice([log for log in waiting if log]).pop(0))
    found = {(report.kind, report.title, report.text) for report in check("\n".join(mixed))}
    assert found == {(report.kind, report.title, report.text) for report in alone}


@pytest.mark.parametrize("text", CONTENTS.values(), ids=CONTENTS)
def test_a_log_may_end_anywhere(text: str) -> None:
    final = check(text)
    lines = text.splitlines(keepends=True)
    for length in range(len(lines)):
        reports = check("".join(lines[:length]))
        assert len(reports) <= len(final)
        for report, whole in zip(reports, final, strict=False):
            if len(final) == 1 and report.title != CUT_OFF:
                assert (report.begin, report.kind) == (whole.begin, whole.kind)
                assert whole.text.startswith(report.text)


@given(st.sampled_from(list(CONTENTS.values())), st.data())
def test_a_log_may_begin_and_end_anywhere(text: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(text)))
    check(text[begin : data.draw(st.integers(begin, len(text)))])


LINES = sorted({line for text in CONTENTS.values() for line in text.split("\n")})


@given(st.lists(st.sampled_from(LINES), max_size=60))
def test_lines_in_any_order_are_read_without_an_error(lines: list[str]) -> None:
    check("\n".join(lines))


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    check(text)
    check(raw(*text.split("\n")))
    check(raw(f"BUG: {text}", f"WARNING: CPU: 0 PID: 1 at {text}", f"PC is at {text}"))


@pytest.mark.parametrize("name", ["Oops: BUG:", "BUG: x", "WARNING: CPU:", "kernel BUG at"])
def test_a_victims_name_begins_no_report(name: str) -> None:
    record = (
        "uid=10070,\tuRSS=100003840,\tmm_max=100000000,\tpid=211,\tpRSS=97484800,"
        f"\tpolicy=rss,\ttrigger=alloc,\tcomm={name}"
    )
    for log in (raw(record), raw(record)[3:], raw(record)[:-1]):
        assert find_reports(log) == ()
    # Nor does it end one.
    (report,) = find_reports(raw("BUG: x", " f from g+0x1/0x2", record, " g from h+0x1/0x2"))
    assert report.text.count("\n") == 4


@pytest.mark.parametrize(
    ("texts", "title"),
    [
        (["Internal error: : 221 [#1] SMP ARM", "PC is at f+0x4/0x8"], "internal error in f"),
        (["Internal error: Oo"], "internal error"),
        (["Internal error:  : 5 [#1]"], "oops"),
        (["Internal error: Oops - BUG: 0 [#1] SMP ARM", "PC is at f+0x4/0x8"], "kernel BUG in f"),
        (["BUG: KASAN: use-af"], "KASAN: use-af"),
        (["[ BUG: Invalid wait context ]"], "BUG: Invalid wait context"),
        (["[ BUG: held lock freed! ]"], "BUG: held lock freed"),
        # What differs from run to run is left out.
        (["BUG: key c0123456 is not registered!"], "BUG: key ADDR is not registered!"),
        (
            [f"{PANIC}Attempted to kill init! exitcode=0x0b"],
            "kernel panic: Attempted to kill init!",
        ),
        (["BUG: x", " f.constprop.0 from g+0x1/0x2"], "BUG: x in f"),
    ],
)
def test_titles(texts: list[str], title: str) -> None:
    assert [report.title for report in check(raw(*texts))] == [title]


def test_no_function_of_ours_counts_as_machinery() -> None:
    folder = KERNEL_PATCHES / "common/mm/mm_limits"
    calls = (re.findall(r"\b(\w*mm_limits\w*)\(", path.read_text()) for path in folder.glob("*.c"))
    names = sorted({name for found in calls for name in found})
    assert len(names) > 50
    for name in names:
        (report,) = find_reports(raw(f"WARNING: CPU: 0 PID: 1 at x.c:1 {name}+0x4/0x8"))
        assert report.title == f"WARNING in {name}"


OOPS = (
    "Unable to handle kernel NULL pointer dereference at virtual address 00000008",
    "Internal error: Oops: 5 [#1] SMP ARM",
    "PC is at f+0x4/0x8",
    "---[ end trace 0000000000000000 ]---",
)
FATAL = f"{PANIC}Fatal exception"


def test_a_panic_that_follows_from_a_report_belongs_to_it() -> None:
    (report,) = find_reports(raw(*OOPS, "note: f[1] exited", FATAL, "CPU1: stopping"))
    assert report.title == "kernel NULL pointer dereference in f"
    assert FATAL in report.text
    assert report.text.endswith("CPU1: stopping\n")


def test_a_panic_of_its_own_does_not() -> None:
    why = "VFS: Unable to mount root fs on unknown-block(0,0)"
    first, second = find_reports(raw(*OOPS, f"{PANIC}{why}"))
    assert FATAL not in first.text
    assert second.title == f"kernel panic: {why}"
    assert [report.kind for report in find_reports(raw(FATAL))] == ["panic"]
    # A warning does not end a task.
    warning = ("WARNING: CPU: 0 PID: 1 at x.c:1 f+0x4/0x8", OOPS[-1])
    dies = f"{PANIC}Attempted to kill init! exitcode=0x00000100"
    assert len(find_reports(raw(*warning, dies))) == 2
    # Nor does one long after a report.
    late = f"<0>[  500.000000] {FATAL}\n"
    assert [report.kind for report in find_reports(raw(*OOPS) + late)] == ["oops", "panic"]


def test_each_oops_is_a_report() -> None:
    again = [text.replace("#1", "#2") for text in OOPS]
    first, second = find_reports(raw(*OOPS[:-1], *again))
    assert (first.begin, second.begin) == (0, 3)


def test_what_others_write_is_kept_where_nobody_knows_whose_it_is() -> None:
    trace = [" f from g+0x1/0x2", "random: crng init done", " g from h+0x1/0x2"]
    log = raw("BUG: x", *trace, "usb 1-1: new device", *["other"] * 20, " h from i+0x1/0x2")
    (report,) = find_reports(log)
    assert "crng" in report.text
    assert report.text.endswith("g from h+0x1/0x2\n")


def test_lines_of_other_cpus_are_a_part_of_a_panic() -> None:
    mine = with_caller(raw(FATAL), "T1")
    other = with_caller(raw("CPU1: stopping", " f from g+0x1/0x2", "something else"), "C1")
    (report,) = find_reports(mine + other)
    assert report.text.count("\n") == 3


def test_what_only_looks_like_a_reports_beginning_is_none() -> None:
    assert find_reports(raw("=" * 40, "8<--- cut here ---", "words")) == ()
    # Neither does it end one.
    log = raw("BUG: x", " f from g+0x1/0x2", "=" * 40, *["words"] * 9, " g from h+0x1/0x2")
    (report,) = find_reports(log)
    assert report.text.count("\n") == 2
