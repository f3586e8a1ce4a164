# SPDX-License-Identifier: MIT
"""`patch-kernel --check` as its reader sees it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from stand_ins import workspace

from harness.build import patching, source
from harness.build.patching import PatchReport
from harness.core.errors import VerdictError
from harness.targets.linux_6_1 import LINUX_6_1


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    kernel = source.KernelSource(LINUX_6_1, Path("tree"), "key", "6.1.1", "a test")
    monkeypatch.setattr(source, "fetch", lambda *_: kernel)
    return io.StringIO()


def check(said: io.StringIO, *reports: PatchReport) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patching, "check", lambda *_: list(reports))
        patching.report_check(workspace(Path("none"), said), LINUX_6_1)


def test_each_patch_has_a_line(said: io.StringIO) -> None:
    check(
        said,
        PatchReport("0001-a.patch", "applies", ""),
        PatchReport("0002-b.patch", "fuzz", "mm/b.c: hunk 1, 2 lines of fuzz"),
    )
    assert said.getvalue().splitlines() == [
        "applies      0001-a.patch",
        "fuzz         0002-b.patch: mm/b.c: hunk 1, 2 lines of fuzz",
    ]


def test_a_conflict_is_a_failed_check(said: io.StringIO) -> None:
    reports = [PatchReport("1", "applies", ""), PatchReport("2", "conflict", "mm/b.c: hunk 1")]
    with pytest.raises(VerdictError, match="1 of 2 patches do not apply"):
        check(said, *reports)
    assert "conflict     2: mm/b.c: hunk 1" in said.getvalue()
