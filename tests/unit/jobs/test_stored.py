# SPDX-License-Identifier: MIT
"""What the cache holds, what goes when nobody has used it, and what `clean` removes."""

from __future__ import annotations

import io
import os
import time
from datetime import datetime
from pathlib import Path

import pytest
from stand_ins import workspace

from harness.build.listing import list_folder, walk
from harness.core.cache import Cache
from harness.core.errors import UsageError
from harness.jobs import stored
from harness.jobs.entries import entries
from harness.report.report import write_index
from harness.results.folder import ResultFolder
from harness.ui.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, said: io.StringIO) -> Workspace:
    # Another run has made them: what this one makes, it uses.
    cache = Cache(tmp_path / "cache")
    cache.ensure("kernel", "old", lambda folder: make(folder, 200_000))
    cache.ensure("kernel", "new", lambda folder: make(folder, 100))
    make(tmp_path / "cache" / "kernel" / ".torn.partial", 100)
    make(tmp_path / "cache" / "trees" / "linux", 100)
    make(tmp_path / "cache" / "ccache" / "a", 100)
    age(tmp_path / "cache" / "kernel" / "old", 40)
    age(tmp_path / "cache" / "trees" / "linux", 31)
    return workspace(tmp_path / "cache", said)


def make(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(b"x" * size)


def age(folder: Path, days: float) -> None:
    when = time.time() - days * 86400
    os.utime(folder, (when, when))


def names(ws: Workspace) -> set[str]:
    return {f"{one.kind}/{one.path.name}" for one in entries(ws.cache) if one.key}


ALL = {"kernel/old", "kernel/new", "kernel/.torn.partial", "trees/linux"}


def test_all_is_listed_with_size_and_age(ws: Workspace, said: io.StringIO) -> None:
    found = {one.path.name: one for one in entries(ws.cache)}
    assert names(ws) == ALL
    assert found["old"].size >= 200_000 > found["new"].size
    assert found["old"].days(time.time()) == pytest.approx(40, abs=0.01)
    assert found[".torn.partial"].partial
    stored.run(ws)
    for text in ("torn (half-made)", "40.0 d", "4 entries", "no limit", "By kind"):
        assert text in said.getvalue()
    stored.run(ws, limit=2e9)
    assert "cache_gib allows 2.0 GB" in said.getvalue()


def test_it_says_what_is_in_use(ws: Workspace, said: io.StringIO) -> None:
    ws.cache.ensure("kernel", "new", lambda _: pytest.fail("it is there"))
    with ws.cache.lock("tree-linux"):
        stored.run(ws)
    rows = [line.split() for line in said.getvalue().splitlines() if line]
    assert {tuple(row[:2]) for row in rows if row[-2:] == ["in", "use"]} == {
        ("kernel", "new"),
        ("trees", "linux"),
        ("kind", "entries"),
    }
    by_kind = {row[0]: row[1:] for row in rows if "ago" in row}
    assert by_kind["kernel"][0] == "3"
    assert by_kind["kernel"][-3] == "1,"
    assert by_kind["trees"][:1] == ["1"]
    assert "ccache" in by_kind


def test_what_nobody_used_goes(ws: Workspace) -> None:
    stored.run(ws, prune=True)
    assert names(ws) == {"kernel/new"}
    assert (ws.cache.root / "ccache" / "a" / "file").exists()


def test_what_is_known_of_directories_is_counted_and_goes(ws: Workspace, tmp_path: Path) -> None:
    notes: list[Path] = []
    for name in ("mine", "other"):
        root = tmp_path / name
        make(root, 1)
        about = ("directories", os.fsencode(root))
        # As large as that of a kernel would be.
        ws.cache.note({"x": "x" * 200_000}, *about)
        notes.append(ws.cache.note_path(*about))
        age(notes[-1], 40)
    ws.cache.note("x", "built", "mine")
    known = {one.path: one for one in entries(ws.cache) if one.kind in ("built", "directories")}
    assert len(known) == 3
    assert known[notes[0]].size >= 200_000
    # To look at a directory again is a use.
    list_folder(ws, tmp_path / "mine", walk(tmp_path / "mine"), frozenset())
    stored.run(ws, prune=True)
    assert [note.exists() for note in notes] == [True, False]
    assert not [path for path in notes[0].parent.iterdir() if path.name.startswith(".")]


def test_use_makes_it_young(ws: Workspace) -> None:
    ws.cache.ensure("kernel", "old", lambda _: pytest.fail("it is there"))
    stored.run(ws, prune=True)
    assert names(ws) == {"kernel/new", "kernel/old"}


def test_the_days_count(ws: Workspace) -> None:
    stored.run(ws, prune=True, days="35")
    assert names(ws) == {"kernel/new", "trees/linux"}
    stored.run(ws, prune=True, days="0")
    assert names(ws) == set()


def test_prune_makes_room_as_well(ws: Workspace) -> None:
    stored.run(ws, prune=True, days="100", limit=100_000)
    assert names(ws) == {"kernel/new", "trees/linux"}


def test_prune_knows_how_large_a_tree_is_by_now(ws: Workspace) -> None:
    tree = ws.cache.root / "trees" / "linux"
    entries(ws.cache)
    (tree / "file").write_bytes(b"x" * 300_000)
    age(tree, 31)
    stored.run(ws, prune=True, days="100", limit=400_000)
    assert names(ws) == {"kernel/new", "trees/linux"}


@pytest.mark.parametrize(("days", "left"), [("0", ["new"]), ("3", ["middle", "new"])])
def test_old_logs_go(ws: Workspace, days: str, left: list[str]) -> None:
    for name, old in (("old", 4), ("middle", 2), ("new", 0.9)):
        make(ws.logs / "folder", 1)
        (ws.logs / name).touch()
        age(ws.logs / name, old)
    stored.run(ws, prune=True, days=days)
    assert sorted(path.name for path in ws.logs.iterdir()) == ["folder", *left]


def test_what_somebody_is_at_stays(ws: Workspace) -> None:
    with ws.cache.lock("kernel-old"), ws.cache.lock("kernel-torn"), ws.cache.lock("tree-linux"):
        stored.run(ws, prune=True)
    assert names(ws) == ALL


@pytest.mark.parametrize("days", ["", "-1", "soon", "nan"])
def test_days_are_a_number(ws: Workspace, days: str) -> None:
    with pytest.raises(UsageError, match="no number of days"):
        stored.run(ws, prune=True, days=days)
    assert names(ws) == ALL


def test_an_empty_cache(tmp_path: Path) -> None:
    assert entries(workspace(tmp_path / "none").cache) == ()


@pytest.mark.parametrize("cache", [False, True])
def test_clean(tmp_path: Path, cache: bool) -> None:
    ws, results = workspace(tmp_path / "cache"), tmp_path / "results"
    result(results)
    for folder in (ws.cache.root, tmp_path / "cache.removed-1", tmp_path / "other"):
        (folder / "sub").mkdir(parents=True)
    stored.clean(ws, cache=cache, results=results)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == ({"other"} if cache else {"cache", "cache.removed-1", "other"})
    stored.clean(ws, cache=cache, results=results)


def result(results: Path) -> Path:
    """Make a result, as a run leaves it, with the pages about all; return its folder."""
    folder = ResultFolder.create(results, "linux-6.1", "rss", datetime(2026, 11, 22)).path
    (folder / "guest2").mkdir()
    (folder / "guest2" / "console.log").touch()
    write_index(results)
    return folder


def test_clean_leaves_what_is_no_result(tmp_path: Path, said: io.StringIO) -> None:
    """The configuration may name any folder."""
    ws, results = workspace(tmp_path / "cache", said), tmp_path / "home"
    folder = result(results)
    (results / ".goldfish-oom-removed-1" / "sub").mkdir(parents=True)
    photos = results / "20240101-120000-beach" / "photo.jpg"
    nested = results / "20240104-120000-thesis" / "data" / "console.log"
    link = results / "20240102-120000-linux-6.1-rss"
    kept = [photos, results / "notes", results / "latest.txt", results / "bench.json"]
    for path in (*kept, nested):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    link.symlink_to(photos.parent)
    (results / "20240103-120000-file").touch()
    stored.clean(ws, cache=False, results=results)
    assert not folder.exists()
    left = {path.name for path in results.iterdir()}
    assert left == {
        *("20240101-120000-beach", "20240102-120000-linux-6.1-rss", "20240103-120000-file"),
        *("20240104-120000-thesis", "notes", "latest.txt", "bench.json"),
    }
    assert photos.exists()
    assert nested.exists()
    assert f"{results / 'notes'} is no result, and stays" in said.getvalue()


def test_clean_leaves_a_page_of_somebody_else(tmp_path: Path) -> None:
    results = tmp_path / "www"
    results.mkdir()
    (results / "index.html").write_text("<title>My site</title>")
    stored.clean(workspace(tmp_path / "cache"), cache=False, results=results)
    assert (results / "index.html").exists()
