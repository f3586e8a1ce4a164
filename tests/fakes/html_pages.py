# SPDX-License-Identifier: MIT
"""Pages as a parser reads them, and what holds for each of them."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

VOID = {"col", "meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """A page, as a parser reads it: its elements, its text and its names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.words: list[str] = []
        self.policy = ""
        self.inline: dict[str, str] = {"style": "", "script": ""}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"] or "")
        if (values.get("href") or "").startswith("#"):
            self.targets.append((values["href"] or "")[1:])
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        for name in ("aria-labelledby", "aria-describedby"):
            self.targets += (values.get(name) or "").split()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.inline:
            self.inline[self.open[-1]] += data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def checked(text: str) -> Page:
    """The page, which is whole, and can load, run and send nothing but its own."""
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.targets) <= {*page.ids, ""}
    assert not {"img", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    attributes = {name for _, names in page.elements for name in names}
    assert not {"src", "style", "srcset", "action"} & attributes
    assert not [name for name in attributes if name.startswith("on")]
    policy = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert policy["default-src"] == "'none'"
    for kind, content in page.inline.items():
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    for character in text:
        assert character.isprintable() or character in "\n\t"
    return page
