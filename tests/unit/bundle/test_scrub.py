# SPDX-License-Identifier: MIT
"""What is given away does not tell of the machine that it was made on."""

from __future__ import annotations

import json

import pytest

from harness.bundle.scrub import places_of, scrubbed, scrubbed_json, scrubbed_log, scrubbed_words
from harness.core.paths import REPO

HOME = "/srv/people/somebody"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setenv("XDG_CACHE_HOME", f"{HOME}/.cache")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HOME}/.cache/goldfish-oom/kernel/0123", "<cache>/kernel/0123"),
        (f"{HOME}/.cache/goldfish-oom2", "<home>/.cache/goldfish-oom2"),
        (f"cannot open '{REPO}/results/a'", "cannot open '<repository>/results/a'"),
        (f"{HOME}", "<home>"),
        (f"{HOME}s/x {HOME}.old", f"{HOME}s/x {HOME}.old"),
        ("/data/trees/linux/Makefile", "<elsewhere>/linux/Makefile"),
        ("/data/trees/linux2", "<elsewhere>/linux2"),
        ("/data/trees2 /data", "/data/trees2 /data"),
        ("https://me:secret@example.invalid/linux.git", "https://example.invalid/linux.git"),
        ("nothing /tmp here", "nothing /tmp here"),
    ],
)
def test_places_have_names_in_place_of_paths(text: str, expected: str) -> None:
    places = places_of(("--source", "/data/trees/linux", "/tmp", "/", "../linux"))
    assert scrubbed(text, places) == expected


@pytest.mark.parametrize(
    "word",
    [
        "/data/trees/linux/",
        f"file:///data/trees/linux@{'0' * 40}",
        f"/data/trees/linux@{'0' * 40}",
    ],
)
def test_the_paths_of_a_source_are_known(word: str) -> None:
    assert "/data/trees" not in scrubbed(f"{word} /data/trees/linux", places_of((word,)))


def test_a_command() -> None:
    command = ("./inv", "--source", "https://a:b@c.invalid/d", "--patch", f"{HOME}/my patch")
    found = scrubbed_words(command, places_of(command))
    assert found == ("./inv", "--source", "https://c.invalid/d", "--patch", "<elsewhere>/my patch")


def test_a_machine_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert scrubbed("/a/b / c", places_of(())) == "/a/b / c"


def test_a_log_keeps_its_bytes() -> None:
    data = b"\xff\x00\r\n" + HOME.encode() + b"\xe2\x80\xa8\x1b[0m"
    assert scrubbed_log(data, places_of(())) == data.replace(HOME.encode(), b"<home>")


def test_json_keeps_its_form() -> None:
    value = {"a": [f"{HOME}/x", 1, None, True, 0.5], "b": {"c": "\ud800ü"}}
    found = json.loads(scrubbed_json(json.dumps(value).encode(), places_of(())))
    assert found == {"a": ["<home>/x", 1, None, True, 0.5], "b": {"c": "\ud800ü"}}
    with pytest.raises(ValueError, match=r"."):
        scrubbed_json(b"{", {})
