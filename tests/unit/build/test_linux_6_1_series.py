# SPDX-License-Identifier: MIT
"""The series of linux-6.1 on the skeletons of the 6.1 trees that people have."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakekernel import patch_files
from linux_6_1_skeleton import FORMS, files_of, write_6_1_skeleton
from stand_ins import workspace

from harness.build.patching import check, overlay
from harness.build.series import touched_files
from harness.build.source import KernelSource
from harness.core.errors import PatchError
from harness.targets.linux_6_1 import LINUX_6_1

# No patching stores anything there.
WS = workspace(Path("/nowhere"))


def skeleton(folder: Path, form: str, shift: int = 0) -> KernelSource:
    write_6_1_skeleton(folder, form, shift)
    return KernelSource(LINUX_6_1, folder, "skeleton", "6.1.192", "a skeleton")


@pytest.mark.parametrize("shift", [0, 1, 150])
@pytest.mark.parametrize("form", FORMS)
def test_every_patch_applies(tmp_path: Path, form: str, shift: int) -> None:
    reports = check(WS, skeleton(tmp_path, form, shift))
    assert {report.patch: report.outcome for report in reports} == {
        patch.name: "applies" for patch in patch_files(LINUX_6_1)
    }


def test_the_skeleton_has_every_file_of_the_series() -> None:
    touched = {
        name
        for patch in patch_files(LINUX_6_1)
        for name in touched_files(patch.read_text(), patch.name)
    }
    assert {form: set(files_of(form)) for form in FORMS} == dict.fromkeys(FORMS, touched)


@pytest.mark.parametrize("form", FORMS)
def test_the_header_is_taken_in_before_the_first_counter(tmp_path: Path, form: str) -> None:
    file = overlay(WS, skeleton(tmp_path, form))["include/linux/mm.h"]
    assert file is not None
    text = file.data.decode()
    assert 0 < text.index("#include <linux/mm_limits.h>") < text.index("mm_limits_rss(")


@pytest.mark.parametrize("name", files_of("android14-6.1"))
def test_a_line_that_is_not_there_is_a_conflict(tmp_path: Path, name: str) -> None:
    source = skeleton(tmp_path, "android14-6.1")
    (tmp_path / name).write_text("nothing that is known\n")
    with pytest.raises(PatchError, match=name):
        overlay(WS, source)
