# SPDX-License-Identifier: MIT
"""Texts from anywhere, as they are shown: visible, on one line, without passwords."""

from __future__ import annotations

from hypothesis import given
from summaries import texts

from harness.core.text import public, visible


@given(texts())
def test_what_is_visible_is_one_line_and_reads_back(text: str) -> None:
    shown = visible(text, also="\\")
    assert len(shown.splitlines()) <= 1
    shown.encode()
    escaped = "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in shown)
    assert escaped.encode().decode("unicode_escape") == text


def test_passwords_are_not_public() -> None:
    assert public("git fetch https://me:pass@word@a.example/x.git@0123 failed") == (
        "git fetch https://a.example/x.git@0123 failed"
    )
    assert public("https://a.example/b@0123 of a@b") == "https://a.example/b@0123 of a@b"
