# SPDX-License-Identifier: MIT
"""The kernel's own checks, with a script and a sparse that find what they are told to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from checkpatch import run_checkpatch, run_sparse
from fakekernel import FakeRepository
from stand_ins import script

from harness.build.kernel import build
from harness.core.errors import ToolMissingError, VerdictError

# Like the real one: a finding for each XXX, and a status of 1 if there was any.
SCRIPT = """\
my $bad = 0;
for my $file (grep { !/^-/ } @ARGV) {
    open(my $in, '<', $file) or die "cannot read $file";
    while (<$in>) { if (/XXX/) { print "$file:$.: WARNING:MARK: bad\\n"; $bad = 1; } }
}
exit $bad;
"""
# Called as the compiler is; the file is the last word.
SPARSE = """\
for file; do :; done
grep -n XXX "$file" | sed "s|^\\([0-9]*\\):.*|$file:\\1:1: warning: marked|"
"""


@pytest.fixture(autouse=True)
def _tools(fake: FakeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpatch.COMMON", fake.common)
    (fake.pristine / "scripts").mkdir()
    (fake.pristine / "scripts/checkpatch.pl").write_text(SCRIPT)
    (fake.folder / "tools").mkdir()
    tool = script(fake.folder / "tools" / "sparse", SPARSE)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)


def mark(path: Path) -> None:
    path.write_text(path.read_text() + "/* XXX */\n")


def test_all_files_and_patches_are_checked(fake: FakeRepository) -> None:
    # limits.c, limiter.c, Kbuild, and two patches.
    assert run_checkpatch(fake.ws, fake.source) == 5


@pytest.mark.parametrize("name", ["common/mm/limits.c", "linux-6.1/b.patch"])
def test_a_finding_is_told(fake: FakeRepository, name: str) -> None:
    mark(fake.folder / "kernel_patches" / name)
    with pytest.raises(VerdictError, match="checkpatch found 1 thing") as caught:
        run_checkpatch(fake.ws, fake.source)
    assert name in caught.value.tail
    assert "WARNING:MARK" in caught.value.tail


def test_a_script_that_fails_is_no_pass(fake: FakeRepository) -> None:
    (fake.pristine / "scripts/checkpatch.pl").unlink()
    with pytest.raises(VerdictError, match="checkpatch"):
        run_checkpatch(fake.ws, fake.source)


def test_sparse_reads_our_files_and_the_modules(fake: FakeRepository) -> None:
    kernel = build(fake.ws, fake.target, str(fake.pristine))
    assert run_sparse(fake.ws, kernel) == 3


def test_what_sparse_finds_in_our_lines_is_told(fake: FakeRepository) -> None:
    mark(fake.common / "mm/limits.c")
    kernel = build(fake.ws, fake.target, str(fake.pristine))
    with pytest.raises(VerdictError, match="sparse found 1 thing") as caught:
        run_sparse(fake.ws, kernel)
    assert caught.value.tail.startswith("mm/limits.c:7:1: warning: marked")


def test_what_sparse_finds_in_the_kernels_lines_is_not_ours(fake: FakeRepository) -> None:
    mark(fake.pristine / "mm/page_alloc.c")
    kernel = build(fake.ws, fake.target, str(fake.pristine))
    assert run_sparse(fake.ws, kernel) == 3


def test_what_sparse_finds_in_a_module_is_told(fake: FakeRepository) -> None:
    kernel = build(fake.ws, fake.target, str(fake.pristine))
    mark(fake.module / "limiter.c")
    with pytest.raises(VerdictError, match="sparse found 1 thing"):
        run_sparse(fake.ws, kernel)


def test_a_missing_sparse_is_named(fake: FakeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = build(fake.ws, fake.target, str(fake.pristine))
    monkeypatch.setenv("PATH", str(fake.folder))
    with pytest.raises(ToolMissingError, match="not installed: sparse"):
        run_sparse(fake.ws, kernel)
