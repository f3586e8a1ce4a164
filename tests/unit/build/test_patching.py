# SPDX-License-Identifier: MIT
"""Patched trees: idempotent, mended when half-applied, conflicts named."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fakekernel import DECLARE_PATCH, HOOK_PATCH, LIMITS_C, TREE, FakeRepository
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.build import patching, source
from harness.build.patching import (
    PatchReport,
    check,
    inputs,
    load_overlay,
    overlay,
    save_overlay,
    steps,
)
from harness.build.pristine import FixedTree
from harness.build.tree_file import Overlay, TreeFile, read_file, write_file
from harness.build.work_tree import WorkTree
from harness.core.errors import PatchError, UsageError, VerdictError

# The second hunk takes away a line that the file does not have.
CONFLICT = HOOK_PATCH.replace(
    "--\n2.39.5\n",
    "@@ -20,4 +21,4 @@\n void free_pages(int order)\n {\n"
    "-\tpages -= 2 << order;\n+\tpages -= 3 << order;\n }\n",
)


@pytest.fixture
def tree(fake: FakeRepository) -> WorkTree:
    tree = WorkTree.of(fake.ws, fake.source)
    tree.folder.mkdir(parents=True)
    return tree


def snapshot(folder: Path) -> dict[str, tuple[TreeFile | None, int]]:
    """Every file with its content, kind and time."""
    return {
        path.relative_to(folder).as_posix(): (read_file(path), path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def contents(folder: Path) -> dict[str, TreeFile | None]:
    return {name: file for name, (file, _) in snapshot(folder).items()}


def expected(pristine: Path, files: Overlay) -> dict[str, TreeFile | None]:
    both: Mapping[str, TreeFile | None] = {**contents(pristine), **files}
    return {name: file for name, file in both.items() if file is not None}


def data_of(files: Overlay, name: str) -> bytes:
    file = files[name]
    assert file is not None
    return file.data


def test_the_overlay_is_common_and_the_patched_files(fake: FakeRepository) -> None:
    files = overlay(fake.ws, fake.source)
    assert list(files) == ["include/linux/mm.h", "mm/limits.c", "mm/page_alloc.c"]
    assert files["mm/limits.c"] == TreeFile(LIMITS_C.encode(), "file")
    assert b"check_limits();" in data_of(files, "mm/page_alloc.c")


def test_the_pristine_tree_stays_as_it_is(fake: FakeRepository, tree: WorkTree) -> None:
    before = snapshot(fake.pristine)
    tree.sync(overlay(fake.ws, fake.source))
    assert snapshot(fake.pristine) == before
    assert contents(TREE) == contents(fake.pristine)


def test_leftovers_of_editors_are_no_part_of_it(fake: FakeRepository) -> None:
    for name in ("limits.c~", "limits.c.orig", ".limits.c.swp", "#limits.c#", "4913"):
        (fake.common / "mm" / name).write_text("x")
    found = [name for name in overlay(fake.ws, fake.source) if name.startswith("mm/")]
    assert found == ["mm/limits.c", "mm/page_alloc.c"]


def test_only_what_differs_is_written(fake: FakeRepository, tree: WorkTree) -> None:
    files = overlay(fake.ws, fake.source)
    assert tree.sync(files) == sorted(files)
    before = snapshot(tree.tree)
    assert tree.sync(overlay(fake.ws, fake.source)) == []
    assert snapshot(tree.tree) == before
    times = {name: time for name, (_, time) in before.items()}
    fake.write_series(a=DECLARE_PATCH, b=HOOK_PATCH.replace("check_limits", "check_them"))
    assert tree.sync(overlay(fake.ws, fake.source)) == ["mm/page_alloc.c"]
    after = {name: time for name, (_, time) in snapshot(tree.tree).items()}
    assert {name for name in after if after[name] != times[name]} == {"mm/page_alloc.c"}
    assert after["mm/page_alloc.c"] > times["mm/page_alloc.c"]


def test_what_a_patch_no_longer_touches_is_restored(fake: FakeRepository, tree: WorkTree) -> None:
    tree.sync(overlay(fake.ws, fake.source))
    old = (tree.tree / "mm/page_alloc.c").stat().st_mtime_ns
    fake.write_series(a=DECLARE_PATCH)
    (fake.common / "mm/limits.c").unlink()
    assert tree.sync(overlay(fake.ws, fake.source)) == ["mm/limits.c", "mm/page_alloc.c"]
    assert contents(tree.tree) == expected(fake.pristine, overlay(fake.ws, fake.source))
    # Pristine again, but newer than what was built from the patched one.
    assert (tree.tree / "mm/page_alloc.c").stat().st_mtime_ns > old


def test_new_folders_go_when_they_are_empty(fake: FakeRepository, tree: WorkTree) -> None:
    tree.sync({"mm/limits/deep/a.c": TreeFile(b"x", "file"), "mm/limits/b.c": None})
    assert tree.sync({}) == ["mm/limits/deep/a.c"]
    assert not (tree.tree / "mm/limits").exists()
    assert (tree.tree / "mm").is_dir()


def test_kinds_of_files_are_kept(fake: FakeRepository, tree: WorkTree) -> None:
    files: Overlay = {
        "scripts/run.sh": TreeFile(b"#!/bin/sh\n", "program"),
        "include/linux/alias.h": TreeFile(b"../linux/mm.h", "link"),
        "Kconfig": None,
    }
    tree.sync(files)
    assert contents(tree.tree) == expected(fake.pristine, files)
    tree.sync({})
    assert contents(tree.tree) == contents(fake.pristine)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["mm/page_alloc.c", "mm/new.c", "init/version.c", "new/a/b.c", "Kconfig"]
            ),
            st.one_of(st.none(), st.binary(max_size=4).map(lambda data: TreeFile(data, "file"))),
        ),
        max_size=4,
    )
)
def test_any_overlay_follows_any_other(tmp_path: Path, overlays: list[Overlay]) -> None:
    folder = tmp_path / "any"
    folder.mkdir(exist_ok=True)
    tree = WorkTree(folder, FixedTree(TREE))
    for files in overlays:
        tree.sync(files)
        assert contents(tree.tree) == expected(TREE, files)
        assert tree.sync(files) == []


@pytest.mark.parametrize("writes", range(4))
def test_a_half_applied_tree_is_seen_and_mended(
    fake: FakeRepository, tree: WorkTree, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    tree.sync({})
    files = overlay(fake.ws, fake.source)
    done: list[Path] = []

    def killed(path: Path, file: TreeFile, scratch: Path | None = None) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        write_file(path, file, scratch)

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr("harness.build.work_tree.write_file", killed)
        tree.sync(files)
    assert len(done) == writes
    assert tree.half_applied() == (writes < len(files))
    assert len(tree.sync(files)) == len(files) - writes
    assert not tree.half_applied()
    assert contents(tree.tree) == expected(fake.pristine, files)


def test_a_half_applied_tree_can_be_taken_back(fake: FakeRepository, tree: WorkTree) -> None:
    files = overlay(fake.ws, fake.source)
    tree.sync(files)
    # As if the run had been killed after the last file.
    state = {"whole": False, "files": sorted(files)}
    (tree.folder / "state.json").write_text(json.dumps(state))
    assert tree.half_applied()
    assert tree.sync({}) == sorted(files)
    assert contents(tree.tree) == contents(fake.pristine)


@pytest.mark.parametrize("state", [None, "", "[]", '{"whole": true}', "\x00"])
def test_a_tree_of_unknown_state_is_made_anew(
    fake: FakeRepository, tree: WorkTree, state: str | None
) -> None:
    files = overlay(fake.ws, fake.source)
    tree.sync(files)
    tree.build.mkdir()
    (tree.tree / "mm/stray.c").write_text("x")
    if state is None:
        (tree.folder / "state.json").unlink()
    else:
        (tree.folder / "state.json").write_text(state)
    tree.sync(files)
    assert contents(tree.tree) == expected(fake.pristine, files)
    # Objects can't be judged by the times of sources that are copies.
    assert not tree.build.exists()


def test_a_copy_that_was_cut_off_is_made_again(fake: FakeRepository, tree: WorkTree) -> None:
    write_file(tree.folder / "source.new" / "mm/half.c", TreeFile(b"x", "file"))
    tree.sync({})
    assert contents(tree.tree) == contents(fake.pristine)


def test_what_somebody_changed_in_the_tree_is_taken_back(
    fake: FakeRepository, tree: WorkTree
) -> None:
    files = overlay(fake.ws, fake.source)
    tree.sync(files)
    # Later than the grain of the clock that files' times are taken from.
    time.sleep(0.02)
    for name in ("init/version.c", "mm/limits.c", "include/linux/stray.h"):
        (tree.tree / name).write_text("int changed;\n")
        # Also where the time is set back, as `cp -p` does.
        os.utime(tree.tree / name, ns=(1, 1))
    assert tree.sync(files) == ["include/linux/stray.h", "init/version.c", "mm/limits.c"]
    assert contents(tree.tree) == expected(fake.pristine, files)


def test_a_conflict_names_patch_file_and_hunk(fake: FakeRepository) -> None:
    fake.write_series(a=DECLARE_PATCH, b=CONFLICT)
    with pytest.raises(PatchError) as caught:
        overlay(fake.ws, fake.source)
    assert re.fullmatch(
        r"b\.patch does not apply to the fake kernel: mm/page_alloc\.c: hunk 2, at line \d+",
        caught.value.message,
    )


def test_fuzz_is_told_and_accepted(fake: FakeRepository) -> None:
    fake.write_series(a=DECLARE_PATCH, b=HOOK_PATCH.replace(" {\n", " {  \n"))
    assert b"check_limits" in data_of(overlay(fake.ws, fake.source), "mm/page_alloc.c")
    assert "b.patch applies with fuzz: mm/page_alloc.c: hunk 1, fuzz 1" in fake.said.getvalue()


def test_check_tells_of_every_patch(fake: FakeRepository) -> None:
    moved = DECLARE_PATCH.replace("@@ -1,3 +1,4 @@", "@@ -4,3 +4,4 @@")
    fuzzy = HOOK_PATCH.replace(" {\n", " {  \n")
    fake.write_series(a=moved, b=CONFLICT, c=fuzzy)
    reports = check(fake.ws, fake.source)
    assert [(report.patch, report.outcome) for report in reports] == [
        ("a.patch", "applies"),
        ("b.patch", "conflict"),
        ("c.patch", "conflict"),
    ]
    assert reports[0].detail == "include/linux/mm.h: hunk 1, offset -3 lines"
    fake.write_series(c=fuzzy)
    assert check(fake.ws, fake.source) == [
        PatchReport("c.patch", "fuzz", "mm/page_alloc.c: hunk 1, fuzz 1")
    ]
    assert not (fake.ws.cache.root / "trees").exists()


def test_extra_patches_come_last_and_may_change_common(
    fake: FakeRepository, tmp_path: Path
) -> None:
    extra = tmp_path / "fault.patch"
    extra.write_text(
        "--- a/mm/limits.c\n+++ b/mm/limits.c\n@@ -4,2 +4,2 @@\n {\n-\treturn 0;\n+\treturn 1;\n"
    )
    assert b"return 1" in data_of(overlay(fake.ws, fake.source, [extra]), "mm/limits.c")
    with pytest.raises(UsageError, match="no such patch"):
        overlay(fake.ws, fake.source, [tmp_path / "none.patch"])


def test_a_tree_that_is_patched_already_is_said_to_be(fake: FakeRepository) -> None:
    (fake.pristine / "mm/limits.c").write_text("x")
    with pytest.raises(PatchError, match=r"has a file of kernel_patches/common already: mm/limits"):
        overlay(fake.ws, fake.source)


def test_a_missing_series_or_patch_is_named(fake: FakeRepository) -> None:
    (fake.patches / "b.patch").unlink()
    with pytest.raises(PatchError, match=r"linux-6\.1/series lists b\.patch, which is not"):
        check(fake.ws, fake.source)
    (fake.patches / "series").unlink()
    with pytest.raises(PatchError, match=r"has no patch series"):
        check(fake.ws, fake.source)


def test_an_overlay_is_saved_and_loaded(fake: FakeRepository, tmp_path: Path) -> None:
    files: Overlay = {
        **overlay(fake.ws, fake.source),
        "gone.c": None,
        "run": TreeFile(b"\xff\x00", "program"),
        "link": TreeFile(b"run", "link"),
    }
    save_overlay(files, tmp_path / "saved")
    assert load_overlay(tmp_path / "saved") == files


# --- `patch-kernel --check` as its reader sees it


def report_check(fake: FakeRepository, *reports: PatchReport) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(source, "fetch", lambda *_: fake.source)
        patched.setattr(patching, "check", lambda *_: list(reports))
        patching.report_check(fake.ws, fake.target)


def test_each_patch_has_a_line(fake: FakeRepository) -> None:
    fuzzy = PatchReport("0002-b.patch", "fuzz", "mm/b.c: hunk 1, 2 lines of fuzz")
    report_check(fake, PatchReport("0001-a.patch", "applies", ""), fuzzy)
    assert fake.said.getvalue().splitlines() == [
        "applies      0001-a.patch",
        "fuzz         0002-b.patch: mm/b.c: hunk 1, 2 lines of fuzz",
    ]


def test_a_conflict_is_a_failed_check(fake: FakeRepository) -> None:
    reports = [PatchReport("1", "applies", ""), PatchReport("2", "conflict", "mm/b.c: hunk 1")]
    with pytest.raises(VerdictError, match="1 of 2 patches do not apply"):
        report_check(fake, *reports)
    assert "conflict     2: mm/b.c: hunk 1" in fake.said.getvalue()


# --- the source's own kernel


def test_a_stock_tree_has_nothing_of_ours(fake: FakeRepository) -> None:
    stock = replace(fake.source, target=fake.target.stock())
    assert overlay(fake.ws, fake.source)
    assert overlay(fake.ws, stock) == {}
    assert inputs(stock.target) == {}


def test_a_stock_tree_gets_what_makes_it_build(fake: FakeRepository) -> None:
    (fake.patches / "compat").mkdir()
    (fake.patches / "b.patch").rename(fake.patches / "compat" / "b.patch")
    (fake.patches / "series").write_text("a.patch\ncompat/b.patch\n")
    assert [step.files[0].name for step in steps(fake.target.stock())] == ["b.patch"]


def test_a_tree_of_its_own(fake: FakeRepository) -> None:
    stock = replace(fake.source, target=fake.target.stock())
    other = replace(fake.source, target=fake.target.in_tree("memcg"))
    trees = {WorkTree.of(fake.ws, one).folder for one in (fake.source, stock, other)}
    assert len(trees) == 3


# --- patches as people make them ---------------------------------------------------------


def users_patch(fake: FakeRepository, folder: Path, *words: str) -> Path:
    """What `git WORDS diff` writes of a change in two files of the tree."""
    tree = folder / "mine"
    shutil.copytree(fake.pristine, tree, symlinks=True)
    git = ["git", "-C", str(tree)]
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run([*git, *command], check=True)
    for name, old, new in (
        ("mm/page_alloc.c", "pages -= 1 << order;", "pages -= 2 << order;"),
        ("Makefile", "NAME = Fake", "NAME = Mine"),
    ):
        file = tree / name
        file.write_text(file.read_text().replace(old, new))
    patch = folder / "mine.patch"
    done = subprocess.run([*git, *words], capture_output=True, check=True)
    patch.write_bytes(done.stdout)
    return patch


def applied(fake: FakeRepository, patch: Path) -> bytes:
    """The user's lines in the file that a patch of the series changes, too."""
    files = overlay(fake.ws, fake.source, [patch])
    assert b"NAME = Mine\n" in data_of(files, "Makefile")
    data = data_of(files, "mm/page_alloc.c")
    assert b"check_limits();" in data
    assert b"\r" not in data
    return data


@pytest.mark.parametrize(
    "words",
    [
        ["diff"],
        ["-c", "diff.noprefix=true", "diff"],
        ["-c", "diff.mnemonicPrefix=true", "diff"],
        ["diff", "--src-prefix=old/", "--dst-prefix=new/"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_patch_applies_whatever_its_prefixes_and_line_ends(
    fake: FakeRepository, tmp_path: Path, words: list[str], ending: bytes
) -> None:
    patch = users_patch(fake, tmp_path, *words)
    patch.write_bytes(patch.read_bytes().replace(b"\n", ending))
    assert b"pages -= 2 << order;\n" in applied(fake, patch)


@pytest.mark.parametrize(
    ("words", "encoding", "message", "hint"),
    [
        (["diff", "--color=always"], "utf-8", "has the colours of a terminal", "--no-color"),
        (["diff"], "utf-16", "is not in UTF-8", "--output=FILE"),
    ],
)
def test_a_patch_that_is_refused_says_why(
    fake: FakeRepository, tmp_path: Path, words: list[str], encoding: str, message: str, hint: str
) -> None:
    patch = users_patch(fake, tmp_path, *words)
    patch.write_bytes(patch.read_bytes().decode().encode(encoding))
    with pytest.raises(PatchError, match=message) as caught:
        overlay(fake.ws, fake.source, [patch])
    assert hint in caught.value.hint
