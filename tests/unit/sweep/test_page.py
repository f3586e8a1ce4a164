# SPDX-License-Identifier: MIT
"""The page of a sweep: what it says, that it is whole, and which sweep it is compared with."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
import sweeps
from html_pages import Page, checked
from hypothesis import given
from summaries import texts
from sweeps import BUILDS, boot_test, emulator_test, ended, fuzz, passed

from harness.core.errors import InfrastructureError
from harness.report import report
from harness.sweep import page as sweep_page
from harness.sweep.cell import Build, Cell
from harness.sweep.kcidb import sweep_kcidb
from harness.sweep.page import find_before
from harness.sweep.result import MATRIX, CellResult, SweepResult, read, to_text

SCRIPT = "<script>document.title='owned'</script>"
NOWHERE = Path("/no/such/folder")


def written(root: Path, found: SweepResult, before: SweepResult | None = None) -> Page:
    path = sweep_page.write(sweeps.leave(root, found), found, before)
    assert path.name == "matrix.html"
    return checked(path.read_text())


def shown(found: SweepResult, before: SweepResult | None = None) -> str:
    """The words of the page of a sweep that has no folder."""
    return checked(sweep_page.page(NOWHERE, found, before)).text


def links(path: Path) -> set[str]:
    return set(re.findall(r'href="([^#"][^"]*)"', path.read_text()))


# --- each kind of sweep ----------------------------------------------------------------------


def test_all_green(tmp_path: Path) -> None:
    text = written(tmp_path, sweeps.green()).text
    for words in (
        *("PASS : 30 cells 30 passed .", "portability.toml", "2026-11-28", "30 min 34 s"),
        *("./inv sweep docs/portability.toml", "workers (2) tcp-1, tcp-2", "24.3 s"),
        *(
            "linux-6.1 debug",
            "goldfish-3.4",
            "badness rss runtime badness test_limits.py",
        ),
        "emulator-test, trigger alloc emulator-test, trigger daemon fuzz bench boot-test",
    ):
        assert words in text
    for words in ("FAIL", "NO VERDICT", "What changed", "Flaky cells", "What did not pass"):
        assert words not in text


def test_a_row_names_the_kernel_that_its_cells_booted() -> None:
    first, second, *_ = (emulator_test(BUILDS[1], policy, "alloc") for policy in sweeps.POLICIES)
    booted = [replace(one, kernel="6.1.153-gfoom-01") for one in passed(first).attempts]
    text = shown(sweeps.sweep([CellResult(first, tuple(booted)), passed(second)]))
    assert "linux-6.1 debug 6.1.153-gfoom-01 PASS" in text


def test_one_wrong_victim() -> None:
    text = shown(sweeps.one_wrong_victim(), sweeps.green())
    assert "FAIL : of 30 cells 1 FAIL, 29 PASS A kernel did something wrong." in text
    assert "1 changed from PASS to FAIL linux-6.1: emulator-test rss alloc" in text
    assert "FAIL 24.3 s was PASS wrong victim in course (policy rss)" in text
    assert "./inv emulator-test --kernel linux-6.1 --policy rss --trigger alloc" in text


def test_a_lost_worker_is_never_a_pass() -> None:
    text = shown(sweeps.one_lost_worker())
    assert "NO VERDICT : of 30 cells 1 NO VERDICT, 29 PASS" in text
    assert "NO VERDICT 11.0 s 2 attempts: the worker was lost; the worker was lost" in text
    # The other one was tried again, and passed.
    assert "PASS 24.3 s 2 attempts: the worker was lost" in text
    assert "1 tcp-1 2026-11-28" in text
    assert "none the worker was lost" in text


def test_a_last_line_of_a_run_without_a_verdict_does_not_say_that_it_failed() -> None:
    cell = emulator_test(BUILDS[0], "rss", "alloc")
    text = shown(sweeps.sweep([ended(cell, 3, "FAIL: adb went away")]))
    assert "NO VERDICT 24.3 s adb went away" in text


def test_repetitions_are_one_place_and_told_if_they_differ() -> None:
    text = shown(sweeps.flaky())
    assert "FAIL flaky 4 repetitions: 3 passed, 1 failed; 1 min 37 s" in text
    assert "PASS 3 repetitions: 3 passed; 1 min 13 s" in text
    assert "linux-6.1: emulator-test rss alloc : PASS , PASS , PASS , FAIL" in text
    # The failed one is the first in the list.
    assert text.index("repetition 3 FAIL") < text.index("repetition 1 PASS")
    assert text.count("flaky") > 4


def test_many_seeds_are_one_place(tmp_path: Path) -> None:
    page = written(tmp_path, sweeps.many_seeds())
    assert "200 seeds: 198 passed, 1 failed, 1 no verdict; 3 h 21 min" in page.text
    assert [tag for tag, _ in page.elements].count("td") == 3 * 2 + 5 * (1 + 2 + 2)
    assert page.text.index("seed 17 FAIL") < page.text.index("seed 41 NO VERDICT")
    assert page.text.index("seed 41 NO VERDICT") < page.text.index("seed 1 PASS")


def test_a_sweep_that_runs_says_how_far_it_has_got() -> None:
    text = shown(sweeps.running(), sweeps.green())
    assert "NOT FINISHED : 11 of 30 cells are done The sweep is not finished" in text
    assert "1 failed , 19 not run , 10 passed ." in text
    assert "has taken 5 min 00 s" in text
    # What was not come to yet is no change.
    assert "to NOT FINISHED" not in text
    assert "1 changed from PASS to FAIL" in text


def test_a_sweep_that_was_ended() -> None:
    cut = replace(sweeps.running(), problem="ended by Ctrl-C")
    assert "What ended it early: ended by Ctrl-C ." in shown(cut)
    none_wrong = replace(cut, cells=tuple(CellResult(one.cell) for one in cut.cells))
    assert "NOT FINISHED : of 30 cells 30 NOT FINISHED What ended it early" in shown(none_wrong)


def test_a_sweep_without_cells() -> None:
    assert "It has no cells." in shown(sweeps.sweep([]))
    assert "0 of 0 cells are done" in shown(sweeps.sweep([], finished=False))


# --- what changed ----------------------------------------------------------------------------


def test_what_changed_is_new_and_is_gone() -> None:
    first, second, third = (emulator_test(BUILDS[0], policy, "alloc") for policy in sweeps.POLICIES)
    before = sweeps.sweep([passed(first), ended(second, 1, "FAIL: x")], run="a", sha256="1")
    now = sweeps.sweep([passed(second), passed(third)])
    text = shown(now, before)
    assert "The file has changed since." in text
    assert "1 changed from FAIL to PASS linux-6.1: emulator-test runtime alloc" in text
    assert "1 new, which the last sweep did not have linux-6.1: emulator-test badness alloc" in text
    assert (
        "1 gone, which only the last sweep had linux-6.1: emulator-test rss alloc : was PASS"
        in text
    )
    same = shown(now, replace(now, run="a"))
    assert "No cell has another verdict." in same
    assert "The file has changed since." not in same


def test_the_gravest_change_is_the_first() -> None:
    text = shown(
        sweeps.changed(
            sweeps.one_lost_worker(), [ended(emulator_test(BUILDS[0], "rss", "alloc"), 1, "x")]
        ),
        sweeps.green(),
    )
    assert text.index("changed from PASS to FAIL") < text.index("changed from PASS to NO VERDICT")


# --- links -----------------------------------------------------------------------------------


def test_a_cell_leads_to_its_report_or_to_what_it_has(tmp_path: Path) -> None:
    odd = boot_test(Build("linux-6.1", "a b#?%&\"'é"), "x.py")
    found = sweeps.sweep(
        [passed(emulator_test(BUILDS[0], "rss", "alloc")), passed(fuzz(BUILDS[0], 7)), passed(odd)]
    )
    strange = "cells/a b#?%'\"é\udcff"
    (attempt,) = found.cells[2].attempts
    cells = (*found.cells[:2], CellResult(odd, (replace(attempt, folder=strange),)))
    found = replace(found, cells=cells)
    folder = sweeps.leave(tmp_path, found)
    (folder / strange).mkdir()
    path = sweep_page.write(folder, found)
    assert links(path) == {
        "../index.html",
        "./cells/linux-6.1--emulator-test-rss-alloc/report.html",
        "./cells/linux-6.1--fuzz-seed-7/fuzz.json",
        "./cells/a%20b%23%3F%25%27%22%C3%A9%FF/",
    }
    for link in links(path) - {"../index.html"}:
        assert (folder / os.fsdecode(unquote_to_bytes(link))).exists()


@pytest.mark.parametrize("name", ["/etc", "../other", "cells/../../x", "", "missing", "a\0b"])
def test_no_link_leads_out_of_the_folder_or_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    cell = fuzz(BUILDS[0], 7)
    (attempt,) = passed(cell).attempts
    found = sweeps.sweep([CellResult(cell, (replace(attempt, folder=name),))])
    folder = sweeps.leave(tmp_path, found)
    assert links(sweep_page.write(folder, found)) == {"../index.html"}


def test_a_page_that_cannot_be_written_is_an_error_that_says_so() -> None:
    with pytest.raises(InfrastructureError, match=r"matrix\.html cannot be written"):
        sweep_page.write(NOWHERE, sweeps.green())


# --- whatever the sweep is --------------------------------------------------------------------


@given(sweeps.sweeps(), sweeps.sweeps())
def test_every_sweep_makes_a_page(found: SweepResult, before: SweepResult) -> None:
    page = checked(sweep_page.page(NOWHERE, found, before))
    cells = page.elements.count(("li", ("data-n", "data-v")))
    cells += sum("data-n" in names for _, names in page.elements) - cells
    assert cells == len(found.cells)


@given(texts())
def test_no_name_makes_an_element(name: str) -> None:
    def elements(name: str) -> list[tuple[str, tuple[str, ...]]]:
        cell = Cell(Build(name, name, (name,)), name, (name,), name, name, None, name)
        found = sweeps.sweep([ended(cell, 1, name)], file=name, command=(name,), workers=(name,))
        return Page(sweep_page.page(NOWHERE, found)).elements

    assert elements(f"z{name}") == elements("z")


def test_what_a_stranger_wrote_does_nothing() -> None:
    page = checked(sweep_page.page(NOWHERE, sweeps.hostile(SCRIPT)))
    assert page.text.count(SCRIPT) > 10
    assert "{{ 7 * 7 }}" in page.text
    assert [tag for tag, _ in page.elements].count("script") == 1


def test_a_password_stays_here() -> None:
    url = "https://me:secret@a.example/linux"
    cell = Cell(Build("linux-6.1", "", ("--source", url)), "emulator-test")
    found = sweeps.sweep([ended(cell, 3, f"FAIL: git fetch {url} failed")], command=("a", url))
    text = sweep_page.page(NOWHERE, replace(found, problem=url))
    assert "a.example" in text
    assert "secret" not in text


def test_headings_are_in_order() -> None:
    for found in (sweeps.one_wrong_victim(), sweeps.flaky(), sweeps.sweep([])):
        page = checked(sweep_page.page(NOWHERE, found, sweeps.green()))
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(below <= above + 1 for above, below in pairwise(levels))


def test_ten_thousand_cells_are_a_page_of_less_than_5_mb() -> None:
    seconds = []
    for count in (1_000, 1_000, 10_000):
        found = sweeps.huge(count)
        began = time.process_time()
        text = sweep_page.page(NOWHERE, found, found)
        seconds.append(time.process_time() - began)
    # What grows with the square of the cells takes a hundred times as long. The first page of
    # a process takes longer than all others.
    assert seconds[2] < 40 * seconds[1]
    assert len(text) < 4_000_000
    assert "FAIL : of 10000 cells 1 FAIL, 9999 PASS" in checked(text).text
    # Each of them failed, with a long line.
    worst = [ended(one.cell, 1, "FAIL: " + "x" * 1000) for one in found.cells]
    text = sweep_page.page(NOWHERE, replace(found, cells=tuple(worst)), found)
    assert len(text) < 5_000_000
    assert "9,700 more are in the matrix alone." in text


# --- the sweep before -------------------------------------------------------------------------


def stored(root: Path, name: str, **changes: object) -> SweepResult:
    found = replace(sweeps.green(), **{"run": name, **changes})  # type: ignore[arg-type]
    folder = root / name
    folder.mkdir()
    (folder / MATRIX).write_text(to_text(found))
    return found


def test_the_newest_finished_sweep_of_the_same_file_is_the_last(tmp_path: Path) -> None:
    now = stored(tmp_path, "20261128-201500-sweep-portability")
    assert find_before(tmp_path, now) is None
    stored(tmp_path, "20261125-000000-sweep-portability")
    wanted = stored(tmp_path, "20261126-000000-sweep-portability")
    stored(tmp_path, "20261127-000000-sweep-portability", finished=False)
    stored(tmp_path, "20261127-100000-sweep-other", file="other.toml")
    stored(tmp_path, "20261127-200000-linux-6.1-fuzz")
    (tmp_path / "20261127-300000-sweep-portability").mkdir()
    (tmp_path / "20261127-400000-sweep-portability").write_text("")
    broken = tmp_path / "20261127-500000-sweep-portability"
    broken.mkdir()
    (broken / MATRIX).write_text('{"run": "x", "fi')
    (tmp_path / "20261127-600000-sweep-portability" / MATRIX).mkdir(parents=True)
    (tmp_path / "latest").symlink_to("20261128-201500-sweep-portability")
    assert find_before(tmp_path, now) == wanted
    # One that began later, as a resumed sweep may see, is not what was before.
    late = replace(now, started=datetime(2020, 1, 1, tzinfo=UTC))
    assert find_before(tmp_path, late) is None


def test_no_results_have_no_last_sweep(tmp_path: Path) -> None:
    assert find_before(tmp_path / "missing", sweeps.green()) is None


# --- the whole sweep in matrix.json ------------------------------------------------------------


def test_matrix_json_says_what_came_of_the_whole_sweep() -> None:
    for found, verdict in (
        (sweeps.green(), "PASS"),
        (sweeps.one_wrong_victim(), "FAIL"),
        (sweeps.one_lost_worker(), "NO VERDICT"),
        (replace(sweeps.green(), finished=False), "NOT FINISHED"),
        # Others do not change this any more.
        (replace(sweeps.running(), finished=False), "FAIL"),
        (sweeps.sweep([]), "NOT FINISHED"),
    ):
        told = json.loads(to_text(found))
        assert (told["verdict"], told["result"]) == (verdict, found.last_line)
        assert told["passed"] == (verdict == "PASS")
        assert read(to_text(found)) == found


@given(sweeps.sweeps())
def test_every_sweep_is_read_back(found: SweepResult) -> None:
    assert read(to_text(found)) == found


# --- the index of all results -----------------------------------------------------------------


def test_the_index_lists_sweeps_with_their_last_line(tmp_path: Path) -> None:
    for name, found in (
        ("20261128-201500-sweep-portability", sweeps.one_wrong_victim()),
        ("20261128-191500-sweep-portability", sweeps.running()),
    ):
        folder = sweeps.leave(tmp_path, found, name)
        (folder / MATRIX).write_text(to_text(found))
        sweep_page.write(folder, found)
    (tmp_path / "20261128-171500-sweep-x").mkdir()
    (tmp_path / "20261128-171500-sweep-x" / MATRIX).write_text("{")
    path = report.write_index(tmp_path)
    text = checked(path.read_text()).text
    assert "FAIL 2026-11-28 20:15:00" in text
    assert "sweep of portability.toml: FAIL: of 30 cells 1 FAIL, 29 PASS" in text
    assert "unreadable: matrix.json: " in text
    assert links(path) == {
        "./20261128-201500-sweep-portability/matrix.html",
        "./20261128-191500-sweep-portability/matrix.html",
        "./20261128-171500-sweep-x/",
    }


def test_runs_of_different_names_are_no_repetitions() -> None:
    quick, full = (Cell(BUILDS[0], "bench", label=name) for name in ("quick", "full"))
    found = sweeps.sweep([ended(quick, 0, "PASS"), ended(full, 1, "FAIL: a goal")])
    text = shown(found)
    assert "repetition" not in text
    assert not found.flaky()
    paths = re.findall(r'"path": "([^"]*)"', json.dumps(sweep_kcidb(found)))
    assert len(set(paths)) == 2


def test_what_has_no_verdict_makes_no_cell_flaky() -> None:
    cells = [Cell(BUILDS[0], "bench", repetition=number) for number in (1, 2)]
    lost = sweeps.sweep([ended(cells[0], 0, "PASS"), ended(cells[1], 3, "the worker was lost")])
    assert not lost.flaky()
    assert len(sweeps.sweep([ended(cells[0], 0, "P"), ended(cells[1], 1, "F")]).flaky()) == 2
