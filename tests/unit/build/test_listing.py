# SPDX-License-Identifier: MIT
"""The listing of a folder: what it reads, what it remembers, and what it notices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stand_ins import workspace

from harness.build import listing
from harness.build.listing import Listing, list_folder, walk, walk_sources
from harness.build.tree_file import TreeFile, write_file
from harness.core.errors import SourceError, SourceMovedError
from harness.ui.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a", "d/b", "d/c"):
        write_file(tmp_path / "root" / name, TreeFile(b"1", "file"))
    return tmp_path / "root"


def listed(ws: Workspace, root: Path, *built: str) -> Listing:
    return list_folder(ws, root, list(walk(root)), frozenset(built))[0]


def files_read(ws: Workspace, root: Path) -> int:
    return list_folder(ws, root, list(walk(root)), frozenset())[1]


def test_the_key_is_that_of_the_content_alone(ws: Workspace, root: Path, tmp_path: Path) -> None:
    key = listed(ws, root).key
    for name in ("a", "d/b", "d/c"):
        write_file(tmp_path / "copy" / name, TreeFile(b"1", "file"))
    assert listed(ws, tmp_path / "copy").key == key
    os.utime(root / "a", ns=(1, 1))
    (root / "a").chmod(0o600)
    assert listed(ws, root).key == key
    (root / "a").chmod(0o700)
    assert listed(ws, root).key != key


def test_what_a_build_made_is_not_in_it(ws: Workspace, root: Path) -> None:
    (root / "a.o").touch()
    found = listed(ws, root, "a.o")
    assert list(found.files) == ["a", "d/b", "d/c"]
    (root / "a.o").write_text("built again")
    assert found.moved() == []


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("tags", "d/TAGS", "cscope.in.out", "ncscope.out", "GTAGS"), False),
        (("compile_commands.json", ".cache/clangd/index/a.idx", "d/.ccls-cache/x"), False),
        ((".vscode/settings.json", ".idea/a/b.xml", "d/e/.git/config", "f/.git"), False),
        (("d/tags.c",), True),
        # A folder of the kernel has such a name.
        (("d/tags/Makefile",), True),
        (("d/cscope.d/x",), True),
        ((".cache",), True),
        (("e/x.git/config",), True),
        # What git is told to ignore is built all the same.
        ((".gitignore",), True),
        (("patches/series",), True),
    ],
)
def test_what_is_kept_for_editors_and_git_is_no_source(
    ws: Workspace, root: Path, names: tuple[str, ...], counts: bool
) -> None:
    def found() -> Listing:
        return list_folder(ws, root, walk_sources(root), frozenset())[0]

    before = found()
    for name in names:
        write_file(root / name, TreeFile(b"1", "file"))
    assert before.moved() == (list(names) if counts else [])
    assert (found().key != before.key) == counts


def test_only_changed_files_are_read(
    ws: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (files_read(ws, root), files_read(ws, root)) == (3, 3)
    # As if the files had been written long ago.
    monkeypatch.setattr(listing, "_SETTLED_NS", -(10**12))
    assert (files_read(ws, root), files_read(ws, root)) == (3, 0)
    status = (root / "a").stat()
    (root / "a").write_text("2")
    os.utime(root / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    (root / "d/c").unlink()
    assert (files_read(ws, root), files_read(ws, root)) == (1, 0)
    # A file of the same size and time that takes its place.
    (root / "new").write_text("3")
    os.utime(root / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (root / "new").rename(root / "a")
    assert files_read(ws, root) == 1


def test_each_kind_of_change_is_noticed(ws: Workspace, root: Path) -> None:
    before = listed(ws, root)
    assert before.moved() == []
    (root / "a").write_text("1")
    (root / "d/b").unlink()
    (root / "new").symlink_to("a")
    assert before.moved() == ["a", "d/b", "new"]
    with pytest.raises(SourceMovedError, match=r"root changed while it was read: a and 2 more"):
        before.check_unmoved()


def test_a_change_within_the_grain_of_the_clock_is_noticed(
    ws: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = listed(ws, root)
    monkeypatch.setattr(listing.FoundFile, "stamp", property(lambda file: before.stamps[file.name]))
    (root / "a").write_text("2")
    assert before.moved() == ["a"]


def test_a_file_is_read_only_as_it_was_listed(ws: Workspace, root: Path) -> None:
    before = listed(ws, root)
    assert before.read("a") == TreeFile(b"1", "file")
    assert before.read("none") is None
    (root / "a").write_text("2")
    with pytest.raises(SourceMovedError, match=r"root changed while it was read: a\n"):
        before.read("a")
    (root / "a").unlink()
    with pytest.raises(SourceMovedError):
        before.read("a")


def test_a_folder_that_goes_away_is_an_error(ws: Workspace, root: Path) -> None:
    before = listed(ws, root)
    root.rename(root.with_name("gone"))
    with pytest.raises(SourceError, match="was gone before it was read"):
        before.check_unmoved()
