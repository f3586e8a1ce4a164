# SPDX-License-Identifier: MIT
"""The page of all results as people use it: filters by keyboard, narrow, without scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import report_results as results
from playwright.sync_api import Page, expect

from harness.report import report

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six results, of which two passed, and a folder that is none."""
    folder = tmp_path_factory.mktemp("results")
    for kind in (results.passing, results.wrong_victim, results.oops, results.interrupted):
        report.write(kind(folder))
    results.hostile(folder)
    results.passing(folder, "20261125-080000-linux-6.1-rss")
    (folder / "20261126-100000-linux-6.1-fuzz").mkdir()
    return report.write_index(folder)


def rows(page: Page) -> list[str]:
    """The verdicts and folders of the rows that are shown."""
    found = page.locator("tbody tr:visible").all_inner_texts()
    return [" ".join(text.split()[:2]) for text in found]


def count(page: Page) -> int:
    return page.locator("tbody tr:visible").count()


def test_the_filters_work_by_keyboard(index: Path, opened: Opened) -> None:
    page = opened(index)
    shown = page.get_by_role("status")
    expect(shown).to_have_text("7 results, the newest first.")
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_label("kernel")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("policy")).to_be_focused()
    page.keyboard.type("rss")
    expect(shown).to_have_text("4 of 7 results.")
    page.keyboard.press("Tab")
    page.keyboard.type("FAIL")
    expect(shown).to_have_text("2 of 7 results.")
    assert rows(page) == ["FAIL 2026-11-26", "FAIL 2026-11-26"]
    page.keyboard.press("Tab")
    page.keyboard.type("wrong COURSE")
    expect(shown).to_have_text("1 of 7 results.")
    page.keyboard.type("xyz")
    expect(shown).to_have_text("0 of 7 results.")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Show all")).to_be_focused()
    page.keyboard.press("Enter")
    expect(shown).to_have_text("7 results, the newest first.")
    assert count(page) == 7


def test_enter_in_the_text_leads_nowhere(index: Path, opened: Opened) -> None:
    page = opened(index)
    page.get_by_label("text").fill("ctrl-c")
    page.get_by_label("text").press("Enter")
    assert page.url == index.as_uri()
    assert rows(page) == ["NOT FINISHED"]


def test_every_value_can_be_chosen(index: Path, opened: Opened) -> None:
    page = opened(index)
    for what in ("kernel", "policy", "verdict"):
        select = page.get_by_label(what)
        for option in select.locator("option").all_inner_texts()[1:]:
            select.select_option(label=option)
            assert 0 < count(page) < 7
        select.select_option("")
    page.get_by_label("verdict").select_option("PASS")
    assert count(page) == 2


def test_a_row_leads_to_its_report_and_back(index: Path, opened: Opened) -> None:
    page = opened(index)
    link = page.get_by_role("link", name="20261126-152702-linux-6.1-rss")
    folder = index.parent / "20261126-152702-linux-6.1-rss"
    assert link.evaluate("one => one.href") == (folder / "report.html").as_uri()
    back = opened(folder / "report.html").get_by_role("link", name="All results")
    assert back.evaluate("one => one.href") == index.as_uri()


def test_what_a_screen_reader_is_told(index: Path, opened: Opened) -> None:
    page = opened(index)
    expect(page.locator("main")).to_match_aria_snapshot(
        """
        - main:
          - heading "Results" [level=1]
          - search "Filter the results":
            - combobox "kernel"
            - combobox "policy"
            - combobox "verdict"
            - searchbox "text"
            - button "Show all"
          - status: 7 results, the newest first.
          - region "Results":
            - table:
              - rowgroup:
                - row "verdict started kernel policy trigger why"
              - rowgroup:
                - row /FAIL 2026-11-26 16:00:00/
                - row /FAIL 2026-11-26 15:32:24/
                - row /FAIL 2026-11-26 15:27:02/
                - row /PASS 2026-11-26 15:19:35/
                - row /NOT FINISHED 2026-11-26 14:36:04/
                - row /no result 2026-11-26 10:00:00/
                - row /PASS 2026-11-25 08:00:00/
        """
    )


def test_without_scripts_the_whole_table_is_there(index: Path, opened: Opened) -> None:
    page = opened(index, java_script_enabled=False)
    assert count(page) == 7
    assert not page.locator(".filters").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_no_wider_than_the_window(index: Path, scheme: str, opened: Opened) -> None:
    page = opened(index, width=320, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.title() == "Results (7)"
