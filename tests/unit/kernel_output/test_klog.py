# SPDX-License-Identifier: MIT
"""The kernel log: sections between markers, and trouble, on saved logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernel_output.klog import (
    BOOT_LINES,
    OWN_LINES,
    Allowed,
    Section,
    ahead_of_uptime,
    certain_lines,
    find_trouble,
    marker,
    section,
)
from harness.kernel_output.troubles import LINES

LOGS = Path(__file__).parents[1] / "logs"
BEGIN = f"<12>[    1.000000] {marker('begin', 'cafe')}\n"
END = f"<12>[    2.000000] {marker('end', 'cafe')}\n"
OTHER = BEGIN.replace("cafe", "beef")


@pytest.mark.parametrize("path", sorted(LOGS.glob("klog-*.log")), ids=lambda path: path.stem)
def test_saved_logs(path: Path) -> None:
    """The first line of a log names its troubles in order; `!` marks what is fatal."""
    title, text = path.read_bytes().decode("latin-1").split("\n", 1)
    kinds = [trouble.kind + ("!" if trouble.fatal else "") for trouble in find_trouble(text)]
    assert f"# {', '.join(kinds)}" == title


def test_each_pattern_is_met_in_a_saved_log() -> None:
    titles = ", ".join(path.read_text("latin-1").split("\n", 1)[0] for path in LOGS.glob("klog-*"))
    rare = {"hard lockup", "memory leak", "object error", "sanitizer report", "UBSAN report"}
    kinds = {line.kind.name for line in LINES}
    assert kinds - rare == {kind for kind in kinds if kind in titles}


def test_each_allowed_line_has_a_reason() -> None:
    assert all(line.reason for line in (*OWN_LINES, *BOOT_LINES))


def test_the_caller_can_allow_more() -> None:
    line = "<4>[    1.000000] known: 12\n"
    assert [trouble.kind for trouble in find_trouble(line)] == ["warning"]
    assert find_trouble(line, [Allowed(r"known: \d+", "because")]) == ()
    assert find_trouble(line, [Allowed(r"known", "not the whole line")]) != ()


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("a\n" + BEGIN + "b\n" + END + "c\n", Section("b\n", has_begin=True, has_end=True)),
        ("a\n" + END, Section("a\n", has_begin=False, has_end=True)),
        ("a\n" + BEGIN + "b\nc", Section("b\nc", has_begin=True, has_end=False)),
        ("a\n", Section("a\n", has_begin=False, has_end=False)),
        ("", Section("", has_begin=False, has_end=False)),
        # Another run's markers are lines like others.
        (BEGIN + OTHER + END, Section(OTHER, has_begin=True, has_end=True)),
    ],
)
def test_a_section_says_which_of_its_edges_are_missing(log: str, expected: Section) -> None:
    assert section(log, "cafe") == expected
    assert expected.whole == (expected.has_begin and expected.has_end)
    assert not section(log, "caf").has_begin


@pytest.mark.parametrize(
    ("log", "ahead"),
    [
        ("", 0.0),
        ("<13>[    3.250000] goldfish-oom: uptime 3.20\n", 0.05),
        ("<13>[3.25] goldfish-oom: uptime 3.20\n<13>[9.0] goldfish-oom: uptime 8.5\n", 0.05),
        ("<13>[9.00] goldfish-oom: uptime 8.50\n<13>[9.1] goldfish-oom: uptime 9.0\n", 0.1),
        ("<13>[    3.250000] goldfish-oom: uptime 3.20 or so\n", 0.0),
        ("goldfish-oom: uptime 3.20\n", 0.0),
    ],
)
def test_how_far_the_logs_clock_is_ahead(log: str, ahead: float) -> None:
    assert ahead_of_uptime(log) == pytest.approx(ahead)


def test_levels_need_not_tell() -> None:
    log = "<4>[    1.000000] NetWinder Floating Point Emulator V0.97\n"
    assert find_trouble(log) != ()
    assert find_trouble(log, levels_tell=False) == ()
    broken = log + "<4>[    2.000000] WARNING: at mm/slub.c:12 f+0x1/0x2()\n"
    assert [trouble.kind for trouble in find_trouble(broken, levels_tell=False)] == ["WARNING"]


def test_what_nobody_but_a_broken_kernel_writes() -> None:
    everyday = (
        "<4>[    1.000000] healthd: WARNING: no battery\n"
        "<6>[    2.000000] send sigkill to 612 (android.browser), adj 9, size 4096\n"
        "<4>[    3.000000] init: page allocation failure: order:4, mode:0x20\n"
        "<4>[    4.000000] init: cannot find '/system/bin/x'\n"
    )
    # WARNING is healthd's word, not the kernel's.
    assert len(find_trouble(everyday, levels_tell=False)) == 2
    assert certain_lines(everyday) == ""
    broken = (
        "<0>[    5.000000] Internal error: Oops: 805 [#1] PREEMPT ARM\n"
        "<4>[    6.000000] ------------[ cut here ]------------\n"
        "<0>[    7.000000] Kernel panic - not syncing: x\n"
    )
    assert certain_lines(everyday + broken) == broken


@given(st.text(), st.text(alphabet="0123456789abcdef", min_size=1))
def test_any_text_is_read_without_an_error(text: str, nonce: str) -> None:
    find_trouble(text)
    section(text, nonce)


@given(st.integers(0, 7), st.sampled_from(["x", "y: z", "mm_limits: other"]))
def test_the_level_decides_about_lines_that_no_pattern_names(level: int, text: str) -> None:
    assert bool(find_trouble(f"<{level}>[    1.000000] {text}\n")) == (level <= 4)
    assert not find_trouble(f"<{level + 8}>[    1.000000] {text}\n")
