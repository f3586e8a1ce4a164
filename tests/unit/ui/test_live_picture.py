# SPDX-License-Identifier: MIT
"""The lines that a terminal shows while a run goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from example_events import EVENTS, RECORD
from rich.cells import cell_len

from harness.ui.events import (
    Event,
    Kill,
    PhaseBegin,
    PhaseEnd,
    Planned,
    RunBegin,
    ScenarioBegin,
    ScenarioEnd,
    Usage,
)
from harness.ui.live_picture import Picture

KILL = replace(RECORD, user_rss=12_001_280, policy="rss", comm="oom_test_kernel", dry_run=False)
PLANNED = (Planned("rss", "report"), Planned("rss", "course"))


class Scene:
    """A picture with a clock that the test turns."""

    now = 0.0

    def __init__(self, *events: Event) -> None:
        self.picture = Picture(lambda: self.now)
        self.take(*events)

    def take(self, *events: Event, seconds: float = 0) -> None:
        for event in events:
            self.picture.take(event)
        self.now += seconds

    def lines(self, width: int = 80, height: int = 24) -> list[str]:
        return [line.plain for line in self.picture.lines(width, height)]


def busy() -> Scene:
    """A run in which something of everything goes on."""
    scene = Scene(RunBegin(("./inv",), planned=PLANNED))
    scene.take(PhaseBegin(1, "build kernel"), seconds=65)
    scene.take(PhaseEnd(1, "build kernel", 65.0), PhaseBegin(2, "scenarios, policy rss"))
    scene.take(ScenarioBegin("report", "rss", "alloc", 1, "as in the report"), seconds=2)
    scene.take(
        ScenarioEnd("report", "rss", "alloc", "PASSED", True, (), 2.0),
        Kill(KILL, "report"),
        ScenarioBegin("course", "rss", "alloc", 1),
        Usage(10070, 8_300_000, 12_000_000),
        Usage(10071, 13_000_000, 12_000_000),
        seconds=3600,
    )
    return scene


def test_everything() -> None:
    run, phase, scenario, within, over, kill = busy().lines()
    # The times since each began.
    assert [line.split()[0] for line in (run, phase, scenario)] == ["1:01:07", "1:00:02", "1:00:00"]
    assert "1 of 2 judged" in run
    assert phase.endswith("scenarios, policy rss")
    assert scenario.endswith("course, policy rss")
    assert within.endswith("10070 [######....] 8.3/12.0 MB")
    assert over.endswith("10071 [##########] 13.0/12.0 MB, over")
    assert "killed 88 (oom_test_kernel)" in kill


def test_a_user_without_a_limit_has_no_bar() -> None:
    scene = Scene(PhaseBegin(1, "scenarios"), Usage(10072, 36_000_000, None))
    assert scene.lines()[-1] == "  user 10072 36.0 MB, no limit"


def test_nothing_is_shown_without_a_phase() -> None:
    scene = busy()
    scene.take(PhaseEnd(2, "scenarios, policy rss", 1.0))
    assert scene.lines() == []


def test_a_note_stands_behind_its_phase() -> None:
    scene = Scene(PhaseBegin(1, "outer"), PhaseBegin(2, "inner"))
    scene.picture.note(1, "CC mm/x.o")
    scene.picture.note(3, "nobody's")
    assert scene.lines() == ["   0:00  outer: CC mm/x.o", "   0:00  inner"]


def test_a_phase_that_stopped_is_not_done() -> None:
    scene = Scene(PhaseBegin(1, "outer"), PhaseBegin(2, "inner"))
    scene.take(PhaseEnd(2, "inner", 1.0, stopped=True))
    assert scene.lines() == ["   0:00  outer"]


def test_several_guests_have_a_line_each() -> None:
    scene = busy()
    scene.take(
        ScenarioBegin("report", "runtime", "alloc", 2),
        Usage(10070, 1_000_000, 2_000_000, 2),
        Kill(KILL, "report", 2),
    )
    lines = scene.lines()
    assert "1:00:00  guest 1: course, policy rss" in lines
    assert "   0:00  guest 2: report, policy runtime" in lines
    assert "  guest 1: 10070 [######....] 8.3/12.0 MB" in lines
    assert "  guest 2: 10070 [#####.....] 1.0/2.0 MB" in lines
    assert sum(line.startswith("  guest 2: user 10070 at 12.0 MB, killed") for line in lines) == 1


def test_users_go_with_their_scenario() -> None:
    scene = busy()
    scene.take(Usage(10070, 1, 2, 2), ScenarioBegin("x", "rss", "alloc", 1))
    assert [line for line in scene.lines() if "[" in line] == [
        "  guest 2: 10070 [#####.....] 0.0/0.0 MB"
    ]


def test_the_last_three_kills() -> None:
    scene = busy()
    scene.take(*(Kill(replace(KILL, pid=pid)) for pid in (101, 102, 103, 104)))
    kills = [line for line in scene.lines() if "killed" in line]
    assert [line.split("killed ")[1][:3] for line in kills] == ["102", "103", "104"]


def test_a_dry_run_killed_nobody() -> None:
    scene = busy()
    scene.take(Kill(replace(KILL, dry_run=True, comm="", policy="")))
    assert scene.lines()[-1] == "  user 10070 at 12.0 MB, would kill 88, 8.3 MB"


def test_of_many_users_those_nearest_to_their_limits() -> None:
    scene = busy()
    scene.take(*(Usage(10080 + n, n * 1_000_000, 20_000_000) for n in range(10)))
    lines = scene.lines()
    users = [line.split()[1] for line in lines if line.startswith("  user 1") and "[" in line]
    assert users == ["10070", "10071", "10087", "10088", "10089"]
    assert "  … and 7 more users" in lines


@pytest.mark.parametrize("comm", ["a\x1b[2J\n", "[red]x[/]", "\u202e", "\x00\x9b31m", "\\x41"])
def test_names_from_the_guest_are_escaped(comm: str) -> None:
    scene = busy()
    scene.take(Kill(replace(KILL, comm=comm)))
    text = "".join(scene.lines())
    assert text.isprintable()
    assert comm == "[red]x[/]" or comm not in text


def test_lines_below_a_phase() -> None:
    scene = Scene(RunBegin(()), PhaseBegin(1, "sweep"))
    scene.picture.note(1, "1 of 3 cells")
    scene.picture.below(1, ["worker-1: a\n", "worker-2: b"])
    assert [line.strip() for line in scene.lines()] == [
        *("0:00  sweep: 1 of 3 cells", "worker-1: a\\x0a", "worker-2: b")
    ]
    scene.picture.below(1, [])
    scene.picture.below(2, ["of a phase that is over"])
    assert len(scene.lines()) == 1


def test_hostile_names_of_everything_else() -> None:
    hostile = "\x1b]0;x\x07\r\n\t[bold]"
    scene = Scene(
        RunBegin(()), PhaseBegin(1, hostile), ScenarioBegin(hostile, hostile, "", 1, hostile)
    )
    scene.picture.note(1, hostile)
    assert len(scene.lines()) == 2
    assert all(line.isprintable() for line in scene.lines(400))
    assert "\\x1b]0;x\\x07\\x0d\\x0a\\x09[bold]" in scene.lines(400)[0]


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 24])
@pytest.mark.parametrize("width", [1, 2, 10, 20, 40, 41, 80, 300])
def test_it_fits_every_terminal(width: int, height: int) -> None:
    scene = busy()
    scene.take(PhaseBegin(9, "広い" * 30), Usage(10079, 10**19, 10**19), *[Kill(KILL)] * 3)
    lines = scene.lines(width, height)
    assert 1 <= len(lines) <= max(height - 1, 1)
    assert all(cell_len(line) <= max(width - 1, 1) for line in lines)


def test_forty_columns_have_the_numbers() -> None:
    lines = busy().lines(40)
    assert "  user 10070 [######....] 8.3/12.0 MB" in lines
    assert "  user 10071 [####...] 13.0/12.0 MB, over" not in lines
    assert any(line.endswith("13.0/12.0 MB, over") for line in lines)


def test_few_rows_keep_the_phases_and_the_last_kill() -> None:
    lines = busy().lines(height=5)
    assert [line[:9] for line in lines[:3]] == ["1:01:07  ", "1:00:02  ", "1:00:00  "]
    assert "killed 88" in lines[3]


def test_every_event_can_be_taken() -> None:
    Scene(PhaseBegin(7, "x"), *EVENTS).lines()
