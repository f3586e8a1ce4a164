# SPDX-License-Identifier: MIT
"""Templates of pages: self-contained HTML files, which load and send nothing.

Text from a guest is shown and can do nothing else. In every value that a template prints,
Jinja escapes HTML's special characters, and `visible()` escapes characters that are invisible
or change the direction of text. The page's policy (CSP) allows its own style and script, by
their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.core.paths import PAGES
from harness.core.text import visible
from harness.kernel_output.records import escape as kernel_name
from harness.report.view import figure_words, short_size, user_words

_LINE_NAME = re.compile(r"(?:G(?P<guest>\d+))?(?P<log>[LC])(?P<number>\d+)")


def render(template: str, /, **values: object) -> str:
    """Return the page that a template makes of these values.

    Its style is page.css and, where there is one, the template's own; its script is the
    template's.
    """
    styles = (PAGES / "page.css", PAGES / f"{template}.css")
    style = "".join(path.read_text(encoding="utf-8") for path in styles if path.exists())
    script = (PAGES / f"{template}.js").read_text(encoding="utf-8")
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


def _line_words(name: str) -> str:
    """Return the name of a line on the page in words."""
    found = _LINE_NAME.fullmatch(name)
    assert found is not None  # read_log() makes only such names
    guest = f"guest {found['guest']}, " if found["guest"] else ""
    return f"{guest}{'console ' if found['log'] == 'C' else ''}line {found['number']}"


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
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return "\t".join(visible(part) for part in value.split("\t"))
    return value


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
