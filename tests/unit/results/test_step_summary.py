# SPDX-License-Identifier: MIT
"""What GitHub is told: read back as GitHub reads it, whatever the names are."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console
from summaries import summaries, summary, texts, verdict

from harness.results.run_result import RunResult
from harness.results.step_summary import LIMIT, errors, page, tell
from harness.scenarios.verdict import Outcome
from harness.ui.progress import Reporter

MARKDOWN = MarkdownIt("commonmark").enable("table")
PRE = re.compile(r"<pre>\n(.*)</pre>\n", re.DOTALL)
COMMAND = re.compile(r"::error title=(?P<title>[^:,]*)::(?P<text>.*)")
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


def blocks(tokens: list[Token]) -> list[str]:
    """The texts that are shown as they are."""
    found = [PRE.fullmatch(token.content) for token in tokens if token.type == "html_block"]
    assert None not in found
    return [html.unescape(match[1]) for match in found if match]


def run_with(**names: str) -> RunResult:
    return summary(
        verdict(names["scenario"], Outcome.NOT_KILLED, names["reason"], policy=names["policy"])
    )


def test_a_run_that_passes() -> None:
    text = page(summary(verdict("runtime-pick", records=2)))
    tokens = tokens_of(text)
    assert after(tokens, "heading_open") == ["PASS: 1 scenario on 6.1.153-gfoom-0123456789ab"]
    assert after(tokens, "td_open") == [
        *("runtime-pick", "rss", "alloc", "killed as expected", "2", "1.2")
    ]
    assert blocks(tokens) == ["./inv emulator-test --source 'a b'\n"]


def test_a_run_that_fails() -> None:
    run = summary(
        verdict("a", Outcome.INFRASTRUCTURE_FAILED, "adb <went> away"),
        verdict("b", Outcome.WRONG_VICTIM, *(f"reason {number}" for number in range(7))),
        problem="QEMU was killed",
        finished=False,
    )
    tokens = tokens_of(page(run))
    assert after(tokens, "heading_open") == [
        "FAIL: wrong victim in b (policy rss)",
        "b, policy rss, trigger alloc: wrong victim",
        "a, policy rss, trigger alloc: infrastructure failed",
    ]
    assert "What ended it: QEMU was killed" in after(tokens, "paragraph_open")
    _, of_b, of_a = blocks(tokens)
    assert of_b.splitlines() == [*(f"reason {number}" for number in range(5)), "… and 2 more"]
    assert of_a == "adb <went> away\n"
    assert [token.type for token in tokens].count("strong_open") == 2


def test_what_is_missing_is_counted() -> None:
    whole = summary(verdict("a"), verdict("b"), verdict("c"))
    cut = replace(whole, judged=whole.judged[:1], finished=False)
    assert "2 more were not judged." in page(cut)


@given(texts(), texts(), texts())
def test_no_name_means_anything_to_markdown(scenario: str, policy: str, reason: str) -> None:
    tokens = tokens_of(page(run_with(scenario=scenario, policy=policy, reason=reason)))
    assert {token.type for token in tokens} <= PLAIN
    plain = tokens_of(page(run_with(scenario="x", policy=policy and "x", reason="x")))
    nested, expected = ([one.type for one in found if one.nesting] for found in (tokens, plain))
    assert nested == expected


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20))
def test_names_are_shown_as_they_are(name: str) -> None:
    tokens = tokens_of(page(run_with(scenario=name, policy=name, reason=name)))
    assert after(tokens, "td_open")[:2] == [name, name]
    assert blocks(tokens)[1] == f"{name}\n"


@given(summaries(), st.integers(-10, 3000))
def test_every_run_makes_a_page(run: RunResult, most: int) -> None:
    tokens = tokens_of(page(run))
    assert {token.type for token in tokens} <= PLAIN
    rows = [token.type for token in tokens].count("tr_open")
    assert rows == (1 + len(run.judged) if run.judged else 0)
    assert len(blocks(tokens)) == 1 + sum(bool(one.reasons) for one in run.failed)
    # It is never too long.
    text = page(run, most)
    assert len(text.encode()) <= max(most, 0)
    assert {token.type for token in tokens_of(text)} <= PLAIN


def test_a_huge_run_stays_under_githubs_limit_and_says_so() -> None:
    one = verdict("x" * 3000, Outcome.NOT_KILLED, *["é" * 3000] * 9)
    text = page(summary(*[one] * 500))
    assert LIMIT - 10_000 < len(text.encode()) <= LIMIT
    assert text.endswith("it would be too much for GitHub.\n")


def test_a_password_stays_here() -> None:
    command = ("./inv", "emulator-test", "--source", "https://me:secret@a.example/b@0123")
    run = summary(verdict(), command=command, finished=False, problem=f"{command[-1]} failed")
    for text in (page(run), *errors(run)):
        assert "example" in text
        assert "secret" not in text


# --- GitHub's commands ------------------------------------------------------


def test_a_pass_has_no_errors() -> None:
    assert errors(summary(verdict())) == []


def test_the_gravest_error_is_the_first() -> None:
    run = summary(
        verdict("a", Outcome.INFRASTRUCTURE_FAILED, "adb"),
        verdict("b", Outcome.WRONG_VICTIM, "1 died", "100% of it"),
    )
    assert errors(run) == [
        "::error title=b%2C policy rss%2C trigger alloc%3A wrong victim::1 died%0A100%25 of it",
        "::error title=a%2C policy rss%2C trigger alloc%3A infrastructure failed::adb",
    ]


def test_a_run_that_ended_early_is_an_error_too() -> None:
    assert errors(summary(finished=False, problem="build kernel failed")) == [
        "::error title=emulator-test%2C linux-6.1::build kernel failed"
    ]


@given(summaries())
def test_every_error_is_one_command(run: RunResult) -> None:
    found = errors(run)
    assert len(found) <= 10
    assert bool(found) == (not run.passed)
    for line in found:
        assert len(line.splitlines()) == 1
        assert COMMAND.fullmatch(line)


# --- telling it -------------------------------------------------------------


def told(run: RunResult, **environment: Any) -> list[str]:
    """The lines that are said."""
    stream = StringIO()
    reporter = Reporter(Console(file=stream, width=80))
    tell(run, {name: str(value) for name, value in environment.items()}, reporter)
    return stream.getvalue().splitlines()


FAILED = summary(verdict("a", Outcome.NOT_KILLED, "a :cat: and [red]x[/red] " + "y" * 100))


def test_errors_are_said_as_they_are_and_elsewhere_nothing() -> None:
    assert told(FAILED) == []
    assert told(FAILED, GITHUB_ACTIONS="", GITHUB_STEP_SUMMARY="") == []
    (line,) = told(FAILED, GITHUB_ACTIONS="true")
    assert line == errors(FAILED)[0]
    assert ":cat: and [red]x[/red]" in line


def test_the_page_is_put_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    assert told(FAILED, GITHUB_STEP_SUMMARY=path) == []
    assert path.read_text() == page(FAILED)
    told(FAILED, GITHUB_STEP_SUMMARY=path)
    assert path.read_text() == page(FAILED) * 2


def test_what_is_there_counts(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    for before in (LIMIT - 700, LIMIT - 1, LIMIT, LIMIT + 1):
        path.write_text("x" * before)
        told(FAILED, GITHUB_STEP_SUMMARY=path)
        assert path.stat().st_size <= max(LIMIT, before)


@pytest.mark.parametrize("name", [".", "missing/summary.md"])
def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (line,) = told(FAILED, GITHUB_STEP_SUMMARY=tmp_path / name)
    assert line.startswith("the summary for GitHub was not written: ")
