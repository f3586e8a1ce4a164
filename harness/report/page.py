# SPDX-License-Identifier: MIT
"""The report page and the index as HTML: self-contained files, which load and send nothing.

Text from a guest is shown and can do nothing else. In every value that a template prints,
Jinja escapes HTML's special characters, and `visible()` escapes characters that are invisible
or change the direction of text. The page's policy (CSP) allows its own style and script, by
their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.core.paths import PAGES
from harness.core.text import public, visible
from harness.kernel_output.records import escape as kernel_name
from harness.report.index import Entry, filters_of
from harness.report.view import Page, figure_words, short_size, user_words
from harness.results.run_result import RunResult, Status

_MEANING: Mapping[Status, str] = MappingProxyType(
    {
        Status.PASSED: "All that was planned was done, and the kernel did what was expected.",
        Status.FAILED: "The kernel did something wrong.",
        Status.ERROR: "The test itself did not work: nothing is known about the kernel.",
        Status.MISSING: "The run was cut off: what is missing is no pass.",
    }
)
_LINE_NAME = re.compile(r"(?:G(?P<guest>\d+))?(?P<log>[LC])(?P<number>\d+)")


def report(name: str, run: RunResult, page: Page, command: str, started: str) -> str:
    """Return the page of the run in the folder `name`; `started` is its start time as text."""
    return _render(
        "report",
        name=name,
        run=run,
        page=page,
        command=public(command),
        when=started,
        meaning=_MEANING[run.status],
        ended="" if run.end == run.headline else public(run.end),
        counts=_counts(run),
        facts=_facts(run),
    )


def index(entries: Sequence[Entry]) -> str:
    """Return the page that lists all results."""
    return _render("index", entries=entries, filters=filters_of(entries))


def local_time(moment: datetime) -> str:
    """Return a time in the local time zone, for people; in its own where there is none."""
    with suppress(ValueError, OverflowError, OSError):
        moment = moment.astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z")


def _counts(run: RunResult) -> str:
    """Return a sentence that counts the verdicts of each kind."""
    statuses = [one.status for one in run.judged] + [Status.MISSING] * len(run.missing)
    if not statuses:
        return "Nothing was judged."
    words = {
        Status.PASSED: "passed",
        Status.FAILED: "failed",
        Status.ERROR: "without a verdict",
        Status.MISSING: "not judged",
    }
    count = Counter(statuses)
    told = ", ".join(f"{count[status]} {words[status]}" for status in words if count[status])
    return f"{len(statuses)} scenarios and logs: {told}."


def _facts(run: RunResult) -> list[tuple[str, str]]:
    facts = [
        ("kernel release", run.release),
        ("source", public(run.origin)),
        ("commit", run.commit or ""),
        ("toolchain", run.toolchain),
        ("machine", ", ".join(word for word in (run.machine, run.arch) if word)),
        ("emulator", run.emulator),
        ("changed files", ", ".join(run.changed)),
    ]
    # A source that is no git tree has no commit, and older harnesses recorded less.
    return [(what, value) for what, value in facts if value or what in ("kernel release", "source")]


def _line_words(name: str) -> str:
    """Return the name of a line on the page in words."""
    found = _LINE_NAME.fullmatch(name)
    assert found is not None  # read_log() makes only such names
    guest = f"guest {found['guest']}, " if found["guest"] else ""
    return f"{guest}{'console ' if found['log'] == 'C' else ''}line {found['number']}"


def _render(template: str, **values: object) -> str:
    files = (PAGES / "page.css", PAGES / f"{template}.js")
    style, script = (path.read_text(encoding="utf-8") for path in files)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(f"{template}.html")
        .render(
            # These come from our own files: nothing from a guest is in them.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            policy=Markup(policy),  # noqa: S704
            **values,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "grouped": "{:,}".format,
        "short_size": short_size,
        "user_words": user_words,
        "figure_words": figure_words,
        "kernel_name": kernel_name,
        "line_words": _line_words,
    }
    return environment


def _visible(value: object) -> object:
    """Return a value to print with invisible characters escaped; a log's tabs stay tabs."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\t".join(visible(part) for part in value.split("\t"))
    return value


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
