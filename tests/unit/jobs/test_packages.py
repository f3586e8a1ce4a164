# SPDX-License-Identifier: MIT
"""What is read out of apt and off the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.core.tools import FILE_PACKAGES, TOOL_PACKAGES, package_of
from harness.jobs import packages
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1


def test_all_is_missing_on_an_empty_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "_SYSTEM_FOLDERS", ())
    armhf = {"gcc-arm-linux-gnueabihf", "binutils-arm-linux-gnueabihf", "libc6-dev-armhf-cross"}
    everywhere = {*TOOL_PACKAGES.values(), *FILE_PACKAGES.values()}
    found = packages.missing(LINUX_6_1.compilers, tmp_path)
    assert found == tuple(sorted(everywhere | armhf))
    armel = {"gcc-arm-linux-gnueabi", "binutils-arm-linux-gnueabi", "libc6-dev-armel-cross"}
    assert set(packages.missing(GOLDFISH_3_4.compilers, tmp_path)) == everywhere | armel
    for prefix in ("/opt/arm-eabi-4.8/bin/arm-eabi-", "/opt/bin/"):
        own = GOLDFISH_3_4.with_cross_compile(prefix)
        assert set(packages.missing(own.compilers, tmp_path)) == everywhere | armel


def test_a_tool_in_a_folder_of_root_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "kmod"
    tool.touch(mode=0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(packages, "_SYSTEM_FOLDERS", (str(tmp_path),))
    assert packages.find_tool("kmod") == str(tool)


def test_age_of_lists(tmp_path: Path) -> None:
    assert packages.lists_age(tmp_path / "none") == float("inf")
    assert packages.lists_age(tmp_path) == float("inf")
    (tmp_path / "mirror_dists_bookworm_InRelease").touch()
    (tmp_path / "partial").mkdir()
    yesterday = time.time() - 86400
    os.utime(tmp_path, (yesterday, yesterday))
    assert packages.lists_age(tmp_path) < 60
    os.utime(tmp_path / "partial", (yesterday, yesterday))
    assert 86300 < packages.lists_age(tmp_path) < 86500


def test_package_of() -> None:
    assert package_of("xz") == "xz-utils"
    assert package_of("unheard-of") is None


def test_the_half_that_is_there_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "arm-linux-gnueabi-gcc"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "_SYSTEM_FOLDERS", ())
    found = packages.missing(GOLDFISH_3_4.compilers, tmp_path)
    assert "gcc-arm-linux-gnueabi" not in found
    assert "libc6-dev-armel-cross" in found
    library = tmp_path / "usr/arm-linux-gnueabi/lib/libc.a"
    library.parent.mkdir(parents=True)
    library.touch()
    compiler.unlink()
    found = packages.missing(GOLDFISH_3_4.compilers, tmp_path)
    assert "gcc-arm-linux-gnueabi" in found
    assert "libc6-dev-armel-cross" not in found


def test_a_compiler_with_its_whole_path_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    compiler = tmp_path / "arm-eabi-gcc"
    assert packages.find_tool(str(compiler)) is None
    compiler.touch(mode=0o755)
    assert packages.find_tool(str(compiler)) == str(compiler)
