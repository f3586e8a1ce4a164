# SPDX-License-Identifier: MIT
"""The report page as people use it: by keyboard, narrow, dark, on paper, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import report_results as results
from page_checks import CONTRAST, FOCUSED, OPEN_ALL
from playwright.sync_api import Browser, Page, expect

from harness.report import report

Show = Callable[..., Page]
KINDS = (
    *(results.passing, results.wrong_victim, results.oops, results.infrastructure),
    *(results.interrupted, results.empty, results.hostile),
)


@pytest.fixture
def show(tmp_path: Path, opened: Callable[..., Page]) -> Show:
    """Write the page of a run of this kind, and open it; the options are those of `opened`."""
    return lambda kind, **options: opened(report.write(kind(tmp_path)), **options)


def assert_readable(page: Page) -> None:
    contrast, text = page.evaluate(CONTRAST)
    assert contrast >= 4.5, text


# --- every kind of run -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_is_wider_than_the_window(kind: Callable[[Path], Path], show: Show) -> None:
    page = show(kind, width=320)
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    # What is wider is in a box of its own, which the keyboard reaches.
    assert page.locator(".scroll:not([tabindex='0'])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", [results.passing, results.wrong_victim, results.oops])
def test_all_text_can_be_read(kind: Callable[[Path], Path], scheme: str, show: Show) -> None:
    page = show(kind, color_scheme=scheme)
    page.evaluate(OPEN_ALL)
    assert_readable(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_what_a_guest_says_does_nothing(show: Show) -> None:
    page = show(results.hostile)
    page.evaluate(OPEN_ALL)
    page.wait_for_timeout(200)
    assert page.title().startswith("FAIL: ")
    assert page.title() != "owned"
    expect(page.locator("h1")).to_contain_text(results.SCRIPT)
    expect(page.locator("#L5")).to_contain_text("comm=<b>\\x0a\\xff\\x1b\\x85x</b>")


def test_what_were_not_escaped_would_do_nothing(tmp_path: Path, chromium: Browser) -> None:
    path = report.write(results.passing(tmp_path))
    bad = f"{results.SCRIPT}<style>body {{ display: none }}</style><b style='display:none'>x</b>"
    path.write_text(path.read_text().replace("<h2", f"{bad}<h2", 1))
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert page.title().startswith("PASS: ")
    assert page.locator("body").is_visible()
    assert page.locator("b", has_text="x").first.is_visible()
    page.close()


# --- what it says ----------------------------------------------------------------------------


def test_what_a_screen_reader_is_told(show: Show) -> None:
    page = show(results.passing)
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - link "Skip to the verdict"
        - banner:
          - navigation "This page":
            - list:
              - listitem:
                - link "All results"
        - main:
          - 'heading "PASS: 3 scenarios on 6.1.153-gfoom-0123456789ab" [level=1]'
          - region "Repeat it":
            - heading "Repeat it" [level=2]
            - paragraph:
              - button "Copy the command"
          - region "Versions":
            - heading "Versions" [level=2]
            - term: kernel release
            - definition: 6.1.153-gfoom-0123456789ab
          - region "Scenarios":
            - heading "Scenarios" [level=2]
            - region "Table of scenarios":
              - table:
                - rowgroup:
                  - row "scenario verdict policy trigger outcome kills seconds"
                - rowgroup:
                  - row /boot PASS alloc nobody killed, as expected/
                  - row /report PASS rss alloc killed as expected 1/
          - region "Kernel log":
            - heading "Kernel log" [level=2]
        """
    )


def test_a_picture_has_a_name_words_and_a_table(show: Show) -> None:
    page = show(results.wrong_victim)
    picture = page.get_by_role("img", name="Memory of user 10070 (u0_a70) over time")
    expect(picture).to_have_accessible_name(
        "Memory of user 10070 (u0_a70) over time User 10070 (u0_a70) used at most 100.0 MB between"
        " 5.00 and 7.39 s. Limit: 100.0 MB. Killed: pid 95 at 7.37 s."
    )
    assert picture.locator(".memory, .limit, .kill").count() == 3
    figure = page.locator("figure").first
    figure.locator("summary").click()
    region = figure.get_by_role("region", name="Samples of user 10070 (u0_a70)")
    assert region.get_by_role("row").count() == 1 + 14
    expect(region.get_by_role("row").nth(2)).to_contain_text("100,000,000")


def test_a_choice_is_told_in_words(show: Show) -> None:
    page = show(results.wrong_victim)
    table = page.get_by_role("region", name="Candidates at 7.370 s, user 10070 (u0_a70)")
    expect(table.get_by_role("row").nth(1)).to_contain_text("chosen")
    expect(table.get_by_role("row").nth(2)).to_contain_text("the model's choice")


# --- by keyboard -----------------------------------------------------------------------------


def test_the_keyboard_reaches_everything_and_is_seen(show: Show) -> None:
    page = show(results.wrong_victim)
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["tag"] == "BODY":
            break
        assert focused["name"], focused
        assert focused["outlined"], focused
        stops.append(focused["name"])
    else:
        pytest.fail("the focus never came to an end")
    for wanted in ("Skip to the verdict", "All results", "Copy the command", "Open all"):
        assert wanted in stops
    # Not the numbers of the log's lines.
    assert not [stop for stop in stops if stop.isdigit()]


def test_the_first_stop_skips_to_the_verdict(show: Show) -> None:
    page = show(results.passing)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the verdict")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_a_scenario_opens_by_its_link_and_by_its_summary(show: Show) -> None:
    page = show(results.passing)
    details = page.locator("details.scenario", has=page.locator("#s4"))
    page.get_by_role("link", name="many-small", exact=True).focus()
    page.keyboard.press("Enter")
    expect(details).to_have_attribute("open", "")
    expect(page.locator("#s4 h4").first).to_be_in_viewport()
    details.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(details).not_to_have_attribute("open", "")
    page.keyboard.press("Space")
    expect(details).to_have_attribute("open", "")


def test_all_scenarios_open_and_close_at_once(show: Show) -> None:
    page = show(results.passing)
    page.get_by_role("button", name="Open all").press("Enter")
    expect(page.locator("details.scenario[open]")).to_have_count(5)
    page.get_by_role("button", name="Close all").press("Enter")
    expect(page.locator("details.scenario[open]")).to_have_count(0)


def test_a_record_leads_to_its_line(show: Show) -> None:
    page = show(results.wrong_victim)
    page.get_by_role("region", name="Kill records of course").get_by_role(
        "link", name="line 102"
    ).press("Enter")
    expect(page.locator("#L102")).to_be_in_viewport()
    expect(page.locator("#L102")).to_contain_text("kill")


def test_the_command_is_copied_or_selected(show: Show) -> None:
    page = show(results.passing)
    page.get_by_role("button", name="Copy the command").press("Enter")
    expect(page.locator("#copied")).to_have_text(re.compile(r"Copied\.|Selected: .*"))
    selected = page.evaluate("getSelection().toString()")
    assert selected == "./inv emulator-test --policy rss --trigger alloc"


# --- a long log ------------------------------------------------------------------------------


def test_a_line_of_a_long_log_is_found(show: Show) -> None:
    page = show(results.long_log)
    assert not page.locator("#L777").is_visible()
    page.evaluate("location.hash = 'L777'")
    expect(page.locator("#L777")).to_be_in_viewport()
    page.evaluate("location.hash = 'L19999'")
    expect(page.locator("#L19999")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


# --- without scripts, and on paper -------------------------------------------------------------


def test_without_scripts_all_is_there_but_the_buttons(show: Show) -> None:
    page = show(results.passing, java_script_enabled=False)
    assert page.get_by_role("button").count() == 0
    page.get_by_role("link", name="many-small", exact=True).click()
    expect(page.locator("#s4")).to_be_visible()
    expect(page.locator("#s4").get_by_role("img").first).to_be_visible()
    page.locator("details.scenario summary").nth(1).click()
    expect(page.get_by_role("region", name="Kill records of report, policy rss")).to_be_visible()
    page.locator(".log summary").click()
    expect(page.locator("#L1")).to_be_visible()


def test_on_paper_everything_is_open_but_ordinary_lines(show: Show) -> None:
    page = show(results.passing, width=794, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("#s4").is_visible()
    assert not page.locator("#L1").is_visible()
    assert page.locator("#L102").is_visible()
    for hidden in ("nav", "button", ".skip"):
        assert not page.locator(hidden).first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert_readable(page)
    assert page.pdf(format="A4").startswith(b"%PDF")
