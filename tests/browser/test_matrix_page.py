# SPDX-License-Identifier: MIT
"""The page of a sweep as people use it: filters by keyboard and by address, narrow, on paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import sweeps
from page_checks import CONTRAST, FOCUSED, OPEN_ALL
from playwright.sync_api import Locator, Page, expect

from harness.sweep import page as sweep_page
from harness.sweep.result import SweepResult

Show = Callable[..., Page]
KINDS = (
    *(sweeps.green, sweeps.one_wrong_victim, sweeps.one_lost_worker, sweeps.flaky),
    *(sweeps.many_seeds, sweeps.running),
)
SCRIPT = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture
def show(tmp_path: Path, opened: Callable[..., Page]) -> Show:
    """Write the page of this sweep, compared with one that is all green, and open it."""

    def showing(found: SweepResult, **options: object) -> Page:
        path = sweep_page.write(sweeps.leave(tmp_path, found), found, sweeps.green())
        return opened(path, **options)

    return showing


def seen(page: Page) -> int:
    """How many verdicts the matrix shows."""
    return page.locator(".matrix [data-n]:visible:not(.out)").count()


def field(page: Page, what: str) -> Locator:
    """The field to filter by this."""
    return page.locator(f"[data-filter='{what}']")


def rows(page: Page) -> list[str]:
    found = page.locator(".matrix tbody tr:visible th").all_inner_texts()
    return [" ".join(text.split()) for text in found]


def heads(page: Page) -> list[str]:
    return page.locator(".matrix thead th:visible").all_inner_texts()


# --- every kind of sweep ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_is_wider_than_the_window(kind: Callable[[], SweepResult], show: Show) -> None:
    page = show(kind(), width=320)
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    # What is wider is in a box of its own, which the keyboard reaches.
    assert page.locator(".scroll:not([tabindex='0'])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_text_can_be_read(kind: Callable[[], SweepResult], scheme: str, show: Show) -> None:
    page = show(kind(), color_scheme=scheme)
    page.evaluate(OPEN_ALL)
    contrast, text = page.evaluate(CONTRAST)
    assert contrast >= 4.5, text


def test_what_a_stranger_wrote_does_nothing(show: Show) -> None:
    page = show(sweeps.hostile(SCRIPT))
    page.evaluate(OPEN_ALL)
    page.wait_for_timeout(200)
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    expect(page.locator(".matrix tbody th")).to_contain_text(SCRIPT)


def test_verdicts_are_told_by_words_and_not_by_colour_alone(show: Show) -> None:
    page = show(sweeps.one_lost_worker())
    cell = page.locator(".matrix td[data-v='NO VERDICT']")
    expect(cell).to_contain_text("NO VERDICT")
    expect(cell).to_contain_text("2 attempts: the worker was lost; the worker was lost")
    assert cell.locator("svg").count() == 1


def test_what_a_screen_reader_is_told(show: Show) -> None:
    page = show(sweeps.one_wrong_victim())
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - link "Skip to the verdict"
        - banner:
          - navigation "This page":
            - list:
              - listitem:
                - link "All results"
        - main:
          - 'heading "FAIL: of 30 cells 1 FAIL, 29 PASS" [level=1]'
          - region "What changed since the last sweep":
            - heading "What changed since the last sweep" [level=2]
          - region "The matrix":
            - heading "The matrix" [level=2]
            - search "Filter the cells":
              - combobox "verdict"
              - combobox "kernel"
              - combobox "policy"
              - combobox "trigger"
              - combobox "mark"
              - searchbox "text"
              - button "Show all"
            - status: 30 cells.
            - region "Table of the cells":
              - table:
                - rowgroup:
                  - row /kernel emulator-test, trigger alloc/
                  - row /rss runtime badness/
                - rowgroup:
                  - row /linux-6.1 FAIL 24.3 s was PASS/
                  - row /linux-6.1 debug PASS/
                  - row /goldfish-3.4 PASS/
          - region "What did not pass, or was tried again":
            - heading "What did not pass, or was tried again" [level=2]
        """
    )


# --- filters ---------------------------------------------------------------------------------


def test_the_filters_work_by_keyboard_and_are_in_the_address(show: Show) -> None:
    page = show(sweeps.one_wrong_victim())
    shown = page.get_by_role("status")
    expect(shown).to_have_text("30 cells.")
    field(page, "verdict").focus()
    page.keyboard.type("FAIL")
    expect(shown).to_have_text("1 of 30 cells.")
    assert page.url.endswith("#verdict=FAIL")
    assert rows(page) == ["linux-6.1"]
    assert heads(page) == ["kernel", "emulator-test, trigger alloc", "rss"]
    assert page.locator(".scenario:visible").count() == 1
    page.keyboard.press("ArrowDown")
    expect(shown).to_have_text("29 of 30 cells.")
    assert page.locator(".scenario:visible").count() == 0
    page.keyboard.press("Tab")
    expect(field(page, "kernel")).to_be_focused()
    page.keyboard.type("goldfish")
    expect(shown).to_have_text("10 of 30 cells.")
    field(page, "text").focus()
    page.keyboard.type("Daemon BADNESS")
    expect(shown).to_have_text("1 of 30 cells.")
    assert seen(page) == 1
    assert page.url.endswith("#verdict=PASS&kernel=goldfish-3.4&text=Daemon+BADNESS")
    page.keyboard.type("xyz")
    expect(shown).to_have_text("0 of 30 cells.")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Show all")).to_be_focused()
    page.keyboard.press("Enter")
    expect(shown).to_have_text("30 cells.")
    assert seen(page) == 30
    assert "#" not in page.url


def test_an_address_opens_a_filtered_view(show: Show) -> None:
    page = show(sweeps.one_wrong_victim())
    page.evaluate("location.hash = 'policy=rss&trigger=daemon'")
    expect(page.get_by_role("status")).to_have_text("3 of 30 cells.")
    expect(field(page, "policy")).to_have_value("rss")
    assert heads(page) == ["kernel", "emulator-test, trigger daemon", "rss"]
    # The name of a place on the page is no filter, and takes none away.
    page.evaluate("location.hash = 'matrix'")
    expect(field(page, "policy")).to_have_value("rss")
    page.evaluate("location.hash = 'policy=no-such-policy&x=y&text=%3Cb%3E'")
    expect(field(page, "policy")).to_have_value("")
    expect(page.get_by_role("status")).to_have_text("0 of 30 cells.")


def test_every_value_can_be_chosen(show: Show) -> None:
    page = show(sweeps.flaky())
    for what in ("verdict", "kernel", "policy", "trigger", "mark"):
        select = field(page, what)
        for option in select.locator("option").all_inner_texts()[1:]:
            select.select_option(label=option)
            page.evaluate(OPEN_ALL)
            shown = page.get_by_role("status").inner_text()
            assert shown == f"{seen(page)} of 35 cells."
            assert 0 < seen(page) < 35
        select.select_option("")
    field(page, "mark").select_option("flaky")
    expect(page.get_by_role("status")).to_have_text("4 of 35 cells.")


def test_one_of_many_seeds_is_found_and_folded_again(show: Show) -> None:
    page = show(sweeps.many_seeds())
    fold = page.locator(".matrix details")
    expect(fold).not_to_have_attribute("open", "")
    expect(fold.locator("summary")).to_contain_text("200 seeds: 198 passed, 1 failed, 1 no verdict")
    field(page, "verdict").select_option("FAIL")
    expect(page.get_by_role("link", name="seed 17", exact=True)).to_be_visible()
    assert seen(page) == 1
    page.get_by_role("button", name="Show all").click()
    expect(fold).not_to_have_attribute("open", "")
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert seen(page) == 203


# --- by keyboard -----------------------------------------------------------------------------


def test_the_keyboard_reaches_everything_and_is_seen(show: Show) -> None:
    page = show(sweeps.one_wrong_victim())
    stops = []
    for _ in range(90):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["tag"] == "BODY":
            break
        assert focused["name"], focused
        assert focused["outlined"], focused
        stops.append(focused["name"])
    else:
        pytest.fail("the focus never came to an end")
    for wanted in ("Skip to the verdict", "All results", "Show all", "FAIL", "PASS"):
        assert wanted in stops


def test_a_cell_leads_to_its_report_and_to_its_details(show: Show) -> None:
    page = show(sweeps.one_wrong_victim())
    cell = page.locator(".matrix td[data-v='FAIL']")
    link = cell.get_by_role("link", name="FAIL", exact=True)
    assert link.evaluate("one => one.href").endswith(
        "/cells/linux-6.1--emulator-test-rss-alloc/report.html"
    )
    details = page.locator(".scenario")
    details.locator("summary").click()
    expect(details).not_to_have_attribute("open", "")
    cell.get_by_role("link", name="wrong victim in course").press("Enter")
    expect(details).to_have_attribute("open", "")
    expect(details.locator("pre")).to_be_in_viewport()
    expect(details).to_contain_text("./inv emulator-test --kernel linux-6.1 --policy rss")


# --- a sweep that runs, and a huge one ---------------------------------------------------------


def test_a_sweep_that_runs_says_so(show: Show) -> None:
    page = show(sweeps.running())
    expect(page.locator("h1")).to_have_text("NOT FINISHED: 11 of 30 cells are done")
    bar = page.get_by_role("progressbar", name="cells that are done")
    assert bar.evaluate("one => [one.value, one.max]") == [11, 30]
    expect(page.locator("[data-again]")).to_be_visible()
    field(page, "verdict").select_option("NOT FINISHED")
    expect(page.get_by_role("status")).to_have_text("19 of 30 cells.")


def test_ten_thousand_cells_can_be_used(show: Show) -> None:
    page = show(sweeps.huge())
    expect(page.get_by_role("status")).to_have_text("10000 cells.")
    field(page, "text").fill("seed 5")
    expect(page.get_by_role("status")).to_have_text(re.compile(r"\d+ of 10000 cells\."))
    field(page, "verdict").select_option("FAIL")
    expect(page.get_by_role("status")).to_have_text("1 of 10000 cells.")
    expect(page.get_by_role("link", name="seed 5", exact=True)).to_be_visible()


# --- without scripts, and on paper -------------------------------------------------------------


def test_without_scripts_all_is_there_but_the_filters(show: Show) -> None:
    page = show(sweeps.many_seeds(), java_script_enabled=False)
    assert not page.locator(".filters").is_visible()
    page.locator(".matrix summary").click()
    assert seen(page) == 203
    assert page.locator(".scenario:visible").count() == 3


def test_on_paper_what_did_not_pass_is_open(show: Show) -> None:
    page = show(sweeps.flaky(), width=794, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.get_by_text("repetition 3", exact=True).first.is_visible()
    for hidden in ("nav", ".filters", ".skip"):
        assert not page.locator(hidden).first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    contrast, text = page.evaluate(CONTRAST)
    assert contrast >= 4.5, text
    assert page.pdf(format="A4").startswith(b"%PDF")
