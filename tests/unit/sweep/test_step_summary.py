# SPDX-License-Identifier: MIT
"""What GitHub is told of a sweep: read back as GitHub reads it, whatever the names are."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path

import sweeps
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console
from sweeps import BUILDS, emulator_test, ended

from harness.results.step_summary import LIMIT
from harness.sweep.result import SweepResult
from harness.sweep.step_summary import errors, page, tell
from harness.ui.progress import Reporter

MARKDOWN = MarkdownIt("commonmark").enable("table")
# All that a page is made of; a name that meant something would bring others.
PLAIN = {
    *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline"),
    *("html_block", "text", "text_special", "strong_open", "strong_close"),
    *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
    *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"),
}


def tokens_of(text: str) -> list[Token]:
    tokens = MARKDOWN.parse(text)
    return tokens + [child for token in tokens for child in token.children or ()]


def after(tokens: list[Token], kind: str) -> list[str]:
    """The texts of what `kind` opens."""
    opened = [inline.children or () for one, inline in pairwise(tokens) if one.type == kind]
    return ["".join(child.content for child in children) for children in opened]


def test_the_table_has_builds_and_columns() -> None:
    tokens = tokens_of(page(sweeps.flaky(), sweeps.green()))
    assert after(tokens, "heading_open")[0] == "FAIL: of 35 cells 1 FAIL, 34 PASS"
    heads = after(tokens, "th_open")
    assert heads[:3] == ["kernel", "emulator-test rss alloc", "emulator-test runtime alloc"]
    cells = after(tokens, "td_open")
    assert len(cells) == 3 * len(heads)
    assert cells[:3] == [
        *("linux-6.1", "4 repetitions: 3 passed, 1 failed, 1 min 37 s, flaky, new", "PASS, 24.3 s")
    ]
    assert cells[len(heads)] == "linux-6.1 debug"
    assert [token.type for token in tokens].count("strong_open") == 1


def test_what_did_not_pass_is_told_with_its_command() -> None:
    text = page(sweeps.one_wrong_victim(), sweeps.green())
    assert "wrong victim in course (policy rss)\n./inv emulator-test --kernel linux-6.1" in text
    assert "\n1 changed from PASS to FAIL:\n" in text
    many = sweeps.huge(2_000)
    worst = replace(many, cells=tuple(ended(one.cell, 1, "x") for one in many.cells))
    assert "The results have 1950 more." in page(worst)


def test_a_sweep_that_was_ended() -> None:
    found = replace(sweeps.running(), problem="ended by Ctrl-C")
    text = page(found)
    assert "What ended it: ended by Ctrl&#45;C" in text
    assert "NOT FINISHED |" in text or "NOT FINISHED**" in text


@given(sweeps.sweeps(), st.integers(-10, 3000))
def test_every_sweep_makes_a_page(found: SweepResult, most: int) -> None:
    tokens = tokens_of(page(found, found))
    assert {token.type for token in tokens} <= PLAIN
    builds = {one.cell.build for one in found.cells}
    assert [token.type for token in tokens].count("tr_open") == len(builds) + bool(builds)
    # It is never too long.
    text = page(found, most=most)
    assert len(text.encode()) <= max(most, 0)
    assert {token.type for token in tokens_of(text)} <= PLAIN


def test_the_gravest_error_is_the_first() -> None:
    assert errors(sweeps.green()) == []
    wrong = ended(emulator_test(BUILDS[2], "rss", "alloc"), 1, sweeps.WRONG)
    found = sweeps.changed(sweeps.one_lost_worker(), [wrong])
    assert errors(found) == [
        f"::error title=goldfish-3.4%3A emulator-test rss alloc%3A FAIL::{sweeps.WRONG}",
        f"::error title=goldfish-3.4%3A emulator-test runtime daemon%3A NO VERDICT::{sweeps.LOST}",
    ]
    many = sweeps.huge(1_000)
    worst = replace(many, cells=tuple(ended(one.cell, 1, "x") for one in many.cells))
    assert len(errors(worst)) == 10
    assert errors(sweeps.sweep([], problem="the disk is full")) == [
        "::error title=portability.toml::the disk is full"
    ]


def test_it_is_written_where_github_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    stream = StringIO()
    found = sweeps.one_wrong_victim()
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}
    tell(found, environment, Reporter(Console(file=stream, width=200)), sweeps.green())
    assert path.read_text() == "before\n" + page(found, sweeps.green(), LIMIT)
    assert stream.getvalue().splitlines() == errors(found)
    tell(found, {}, Reporter(Console(file=stream, width=200)))
    assert stream.getvalue().splitlines() == errors(found)
