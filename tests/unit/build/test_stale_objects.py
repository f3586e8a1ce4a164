# SPDX-License-Identifier: MIT
"""What make does not notice is noticed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.build.stale_objects import Changes, ambiguous_headers, forget_stale
from harness.build.tree_file import TreeFile, write_file


def changes(
    *, before: tuple[str, ...] = (), added: tuple[str, ...] = (), removed: tuple[str, ...] = ()
) -> Changes:
    return Changes(before, added, removed, ())


@pytest.mark.parametrize(
    ("path", "anew"),
    [
        ("scripts/link-vmlinux.sh", True),
        ("scripts/mod/modpost.c", True),
        ("arch/arm/tools/syscallhdr.sh", True),
        ("kernel/timeconst.pl", True),
        ("tools/perf/x.py", False),
        ("Documentation/sphinx/x.py", False),
        ("samples/x.sh", False),
        ("mm/x.c", False),
        ("drivers/scripts/x.c", False),
    ],
)
def test_a_script_has_all_made_anew(tmp_path: Path, path: str, anew: bool) -> None:
    for kind in ("added", "removed", "written"):
        build = tmp_path / kind
        build.mkdir()
        paths = {"added": (), "removed": (), "written": (), kind: (path,)}
        forget_stale(tmp_path, build, Changes(before=(), links=frozenset(), **paths))
        assert build.exists() != anew


@pytest.mark.parametrize(
    ("kind", "path", "anew"),
    [
        ("written", "mm/link.c", True),
        ("written", "mm/a.c", False),
        ("written", "tools/link", False),
        ("removed", "mm/a.c", True),
        ("removed", "mm/b.c", False),
        ("removed", "drivers/bar/x.c", True),
        ("removed", "drivers/bars/x.c", False),
        # The link that dangled does no more, and may hide another header.
        ("added", "mm/new.h", True),
        ("added", "drivers/bar/new.c", False),
        # A link to a header is hidden: its own time says nothing.
        ("added", "include/linked.h", True),
    ],
)
def test_what_is_seen_through_a_link_has_all_made_anew(
    tmp_path: Path, kind: str, path: str, anew: bool
) -> None:
    tree, build = tmp_path / "tree", tmp_path / "build"
    build.mkdir()
    for name in ("mm/a.c", "drivers/bar/x.c"):
        write_file(tree / name, TreeFile(b"", "file"))
    links = {"mm/link.c": "a.c", "foo": "drivers/bar", "mm/dangling.h": "new.h", "tools/link": "x"}
    for name, goal in {**links, "mm/linked.h": "a.h"}.items():
        write_file(tree / name, TreeFile(goal.encode(), "link"))
    paths = {"added": (), "removed": (), "written": (), kind: (path,)}
    before = ("mm/a.c", "mm/linked.h")
    forget_stale(tree, build, Changes(before, **paths, links={*links, "mm/linked.h"}))
    assert build.exists() != anew


def test_without_a_build_folder_nothing_is_done(tmp_path: Path) -> None:
    forget_stale(tmp_path, tmp_path / "none", changes(before=("a/x.h",), added=("x.h",)))


def test_names_that_only_begin_alike_stay(tmp_path: Path) -> None:
    build = tmp_path / "build"
    for name in ("mm/a.o", "mm/.a.o.cmd", "mm/ab.o", "mm/.ab.o.cmd", "mm/a", "fs/a.o"):
        write_file(build / name, TreeFile(b"", "file"))
    (build / "mm/a.d").mkdir()
    forget_stale(tmp_path, build, changes(removed=("mm/a.c", "mm/.gitignore", "none/x.c")))
    left = {path.relative_to(build).as_posix() for path in build.rglob("*") if path.is_file()}
    assert left == {"mm/ab.o", "mm/.ab.o.cmd", "mm/a", "fs/a.o"}
    assert (build / "mm/a.d").is_dir()


def test_makefiles_hide_nothing(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    write_file(tmp_path / "a/Makefile", TreeFile(b"", "file"))
    before = (tmp_path / "a/Makefile").stat().st_mtime_ns
    many = changes(before=("a/Makefile",), added=("b/Makefile",))
    forget_stale(tmp_path, tmp_path / "build", many)
    assert (tmp_path / "a/Makefile").stat().st_mtime_ns == before


def test_only_headers_of_one_name_count() -> None:
    known = ambiguous_headers(["a/x.h", "b/x.h", "c/y.h", "a/x.c", "b/x.c"])
    assert ambiguous_headers(["a/x.h", "b/x.h", "d/z.h"]) == known
    assert ambiguous_headers(["a/x.h", "b/x.h", "d/x.h", "c/y.h"]) != known
    assert ambiguous_headers(["a/x.h", "b/x.h", "c/y.h", "d/y.h"]) != known
    assert ambiguous_headers(["a/x.h"]) == ambiguous_headers([])
