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
        forget_stale(tmp_path, build, Changes(before=(), **paths))
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
