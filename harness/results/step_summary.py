# SPDX-License-Identifier: MIT
"""What GitHub shows of a run in GitHub Actions: the job's summary page, and its errors.

`GITHUB_STEP_SUMMARY` names the file for the page, which may already contain text of the same
step. All text of the run is escaped: it cannot act as Markdown, as HTML or as a command to
GitHub.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness.core.text import public, visible
from harness.results.run_result import RunResult, ScenarioResult
from harness.ui.progress import Reporter

# In bytes, for all that one step writes; GitHub drops a longer page as a whole.
LIMIT = 1 << 20
# GitHub shows at most so many errors of one step.
MOST_ERRORS = 10
_MOST_REASONS = 5
# In characters; the files of the run contain the whole text.
_LONGEST = 500
_SPECIAL = re.compile(r"[^A-Za-z0-9 ]|\A | \Z")
_CUT = "\nThe rest is in the results: it would be too much for GitHub.\n"


def tell(summary: RunResult, environment: Mapping[str, str], reporter: Reporter) -> None:
    """Write errors and page for GitHub, if it runs the job; a failed write is only reported."""
    leave(errors(summary), _parts(summary), environment, reporter)


def leave(
    commands: Iterable[str],
    parts: Iterable[str],
    environment: Mapping[str, str],
    reporter: Reporter,
) -> None:
    """Write these errors as commands to GitHub, and a page of these parts, as tell() does."""
    if environment.get("GITHUB_ACTIONS") == "true":
        for line in commands:
            reporter.say(line)
    name = environment.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    path = Path(name)
    try:
        before = path.stat().st_size if path.exists() else 0
        with path.open("a", encoding="utf-8") as stream:
            stream.write(fitted(parts, LIMIT - before))
    except OSError as error:
        reporter.say(f"the summary for GitHub was not written: {visible(str(error))}")


def page(summary: RunResult, most: int = LIMIT) -> str:
    """Build the page: verdict, command, scenarios, reasons, as Markdown of `most` bytes at most."""
    return fitted(_parts(summary), most)


def fitted(parts: Iterable[str], most: int = LIMIT) -> str:
    """Return as many parts of a page as fit into `most` bytes; if one is left out, say so."""
    text = ""
    room = most - len(_CUT)
    for part in parts:
        size = len(part.encode())
        if size > room:
            return text + _CUT if most >= len(_CUT) else text
        room -= size
        text += part
    return text


def errors(summary: RunResult) -> list[str]:
    """Build GitHub's commands for the failures, gravest first, or for what ended the run."""
    found = [
        error_command(_title(one), list(one.reasons[:_MOST_REASONS]) or [one.outcome.value])
        for one in summary.failed
    ]
    if not found and not summary.passed:
        found = [error_command(f"emulator-test, {summary.kernel}", [summary.reason])]
    return found[:MOST_ERRORS]


def _parts(summary: RunResult) -> Iterator[str]:
    """Yield the page in pieces; the page may end after any of them."""
    yield f"\n## {markdown(summary.last_line)}\n"
    facts = [summary.kernel, f"policy {summary.policy}", f"trigger {summary.trigger}"]
    facts += [summary.release] if summary.release else []
    yield f"\n{markdown(', '.join(facts))}\n"
    if summary.problem:
        yield f"\nWhat ended it: {markdown(summary.problem)}\n"
    for report in summary.reports:
        yield f"\nKernel report: {markdown(report.title)}\n"
    # Not shortened: readers copy it.
    command = public(shlex.join(summary.command))
    yield f"\nTo repeat it:\n\n{verbatim([visible(command)])}"
    if summary.judged:
        yield "\n| scenario | policy | trigger | outcome | kills | s |\n|---|---|---|---|--:|--:|\n"
        yield from (_row(one) for one in summary.judged)
    if summary.missing:
        yield f"\n{len(summary.missing)} more were not judged.\n"
    for one in summary.failed:
        yield f"\n### {markdown(_title(one))}\n"
        reasons = [shortened(reason) for reason in one.reasons[:_MOST_REASONS]]
        if len(one.reasons) > _MOST_REASONS:
            reasons.append(f"… and {len(one.reasons) - _MOST_REASONS} more")
        if reasons:
            yield f"\n{verbatim(reasons)}"


def _row(one: ScenarioResult) -> str:
    outcome = one.outcome.value if one.passed else f"**{one.outcome.value}**"
    cells = [markdown(one.scenario), markdown(one.policy), markdown(one.trigger)]
    cells += [outcome, str(one.kill_count), f"{one.seconds:.1f}"]
    return f"| {' | '.join(cells)} |\n"


def _title(one: ScenarioResult) -> str:
    where = f", policy {one.policy}, trigger {one.trigger}" if one.policy else ""
    return f"{one.scenario}{where}: {one.outcome.value}"


def shortened(text: str) -> str:
    """Return a text for others: without passwords, in one line, and not too long."""
    shown = visible(public(text)[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def markdown(text: str) -> str:
    """Escape `text` for Markdown: a character given by its number is never markup."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shortened(text))


def verbatim(lines: list[str]) -> str:
    """Show lines as they are: before the end tag, which no line can contain, is no Markdown."""
    text = "".join(f"{html.escape(line, quote=False)}\n" for line in lines)
    return f"<pre>\n{text}</pre>\n"


def error_command(title: str, lines: list[str]) -> str:
    """Build GitHub's command for an error; in its title `:` and `,` are special, too."""
    name = _percent(shortened(title)).replace(":", "%3A").replace(",", "%2C")
    text = _percent("\n".join(shortened(line) for line in lines))
    return f"::error title={name}::{text}"


def _percent(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
