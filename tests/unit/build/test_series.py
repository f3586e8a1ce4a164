# SPDX-License-Identifier: MIT
"""Series files, patches, and what `patch` says."""

from __future__ import annotations

import pytest
from fakekernel import HOOK_PATCH
from hypothesis import given
from hypothesis import strategies as st

from harness.build.series import (
    Applied,
    Condition,
    Step,
    classify,
    most_fuzz,
    parse_series,
    touched_files,
)
from harness.core.errors import PatchError
from harness.targets.model import Target
from harness.targets.table import TARGETS

names = st.from_regex(r"[0-9a-z][0-9a-z._-]{0,20}", fullmatch=True)


@given(st.lists(names, unique=True), st.lists(st.sampled_from(["", "# why", "   "]), min_size=1))
def test_names_are_read_in_order_between_comments(listed: list[str], noise: list[str]) -> None:
    lines = [line for name in listed for line in (*noise, f"{name} # because")]
    assert parse_series("\n".join(lines), "series") == tuple(Step((name,)) for name in listed)


def test_alternatives_conditions_and_lines_that_go_on() -> None:
    text = "compat/a.patch gcc>=5 # why\nb.patch | \\\nc.patch\nd.patch | e.patch perl>=5.22\n"
    first, second, third = parse_series(text, "series")
    assert first == Step(("compat/a.patch",), Condition("gcc", (5,)))
    assert second == Step(("b.patch", "c.patch"))
    assert third == Step(("d.patch", "e.patch"), Condition("perl", (5, 22)))
    assert (first.optional, second.optional) == (True, False)
    assert (str(first.condition), str(third.condition)) == ("gcc>=5", "perl>=5.22")


NO_NAMES = ["a.patch -p0", "../a.patch", "sub/a.patch", "..", "a |", "| a", "a | | b", "compat/"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *((line, ":2: not the name") for line in NO_NAMES),
        ("a.patch gcc>=", ":2: not a condition"),
        ("a.patch clang>=5", ":2: not a condition"),
        ("a.patch >=5", ":2: not a condition"),
        ("a.patch\nb.patch", ":3: b.patch is listed twice"),
        ("a.patch | \\", ": the last line ends with a backslash"),
    ],
)
def test_a_series_in_another_form_is_refused(line: str, message: str) -> None:
    with pytest.raises(PatchError, match=f"^k/series{message}"):
        parse_series(f"b.patch\n{line}\n", "k/series")


@pytest.mark.parametrize(("context", "expected"), [(0, 0), (1, 0), (2, 1), (3, 2), (5, 2)])
def test_a_hunk_keeps_one_line_of_its_context(context: int, expected: int) -> None:
    lines = [" same"] * context + ["+new"] + [" same"] * context
    head = f"--- a/x\n+++ b/x\n@@ -1,{2 * context} +1,{2 * context + 1} @@\n"
    assert most_fuzz(head + "\n".join(lines) + "\n", "p") == expected


def test_the_files_of_a_patch() -> None:
    text = HOOK_PATCH + (
        "--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+x\n"
        "--- a/old.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        "--- a/from.c\n+++ b/to.c\n@@ -1 +1 @@\n-x\n+y\n"
    )
    names = ("mm/page_alloc.c", "new.c", "old.c", "from.c", "to.c")
    assert touched_files(text, "p") == names


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "holds no change", ""),
        ("only words\n", "holds no change", ""),
        ("--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n", "is damaged", ""),
        ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-x\n+y\n", "not in a/ or b/", "--src-prefix"),
        ("--- /etc/x\n+++ /etc/x\n@@ -1 +1 @@\n-x\n+y\n", "not in a/ or b/", "--src-prefix"),
        ("--- x\n+++ x\n@@ -1 +1 @@\n-x\n+y\n", "not in a/ or b/", "--src-prefix"),
        ("--- a/x\n+++ b/x\n@@@ -1,1 -1,1 +1,2 @@@\n", "both parents of a merge", "PARENT"),
    ],
)
def test_what_is_no_patch_is_refused_by_name(text: str, message: str, hint: str) -> None:
    with pytest.raises(PatchError, match=rf"^p\.patch .*{message}") as caught:
        touched_files(text, "p.patch")
    assert hint in caught.value.hint


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_the_series_of_the_targets_are_read(target: Target) -> None:
    listed = parse_series((target.patches / "series").read_text(), "series")
    assert listed
    names = [name for step in listed for name in step.patches]
    for name in names:
        assert touched_files((target.patches / name).read_text(), name)
    # A patch that nobody lists is a patch that somebody forgot.
    there = target.patches.rglob("*.patch")
    assert set(names) == {path.relative_to(target.patches).as_posix() for path in there}


@pytest.mark.parametrize(
    ("status", "output", "expected"),
    [
        (0, "patching file mm/x.c\n", Applied("applies", "")),
        (
            0,
            "patching file mm/x.c\nHunk #2 succeeded at 30 (offset -3 lines).\n",
            Applied("applies", "mm/x.c: hunk 2, offset -3 lines"),
        ),
        (
            0,
            (
                "patching file mm/x.c\nHunk #1 succeeded at 7 with fuzz 2 (offset 1 line).\n"
                "patching file b.c\nHunk #3 succeeded at 9 with fuzz 1.\n"
            ),
            Applied("fuzz", "mm/x.c: hunk 1, fuzz 2; b.c: hunk 3, fuzz 1"),
        ),
        (
            1,
            (
                "patching file mm/a.c\npatching file mm/x.c\nHunk #2 FAILED at 120.\n"
                "1 out of 3 hunks FAILED\n"
            ),
            Applied("conflict", "mm/x.c: hunk 2, at line 120"),
        ),
        (
            1,
            (
                "can't find file to patch at input line 19\nThe text leading up to this was:\n"
                "|--- a/mm/gone.c\n|+++ b/mm/gone.c\nNo file to patch.  Skipping patch.\n"
                "1 out of 1 hunk ignored\n"
            ),
            Applied("conflict", "mm/gone.c: no such file in the tree"),
        ),
        (
            1,
            (
                "patching file mm/x.c\nReversed (or previously applied) patch detected!  "
                "Skipping patch.\n1 out of 1 hunk ignored\n"
            ),
            Applied("conflict", "mm/x.c: hunk 1 is in the file already"),
        ),
        (
            1,
            (
                "The next patch would create the file mm/new.c,\nwhich already exists!  "
                "Skipping patch.\n1 out of 1 hunk ignored\n"
            ),
            Applied("conflict", "mm/new.c: the file is to be made, and is there already"),
        ),
        (
            2,
            "patch: **** malformed patch at line 12\n",
            Applied("conflict", "patch: **** malformed patch at line 12"),
        ),
        (1, "", Applied("conflict", "patch failed and said nothing")),
    ],
)
def test_what_patch_says(status: int, output: str, expected: Applied) -> None:
    assert classify(status, output) == expected


@given(st.integers(1, 2), st.text())
def test_a_failure_is_never_taken_for_success(status: int, output: str) -> None:
    assert classify(status, output).outcome == "conflict"
