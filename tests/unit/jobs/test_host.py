# SPDX-License-Identifier: MIT
"""What is read off the host: of a made-up one, whose files are in a folder."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path

import pytest
from fake_host import FakeHost

from harness.core.errors import InfrastructureError
from harness.core.tools import FILE_PACKAGES, TOOL_PACKAGES
from harness.jobs.host import Host
from harness.jobs.setup import missing_packages
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """An empty host, with bin on the user's PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return Host(tmp_path)


def put(host: Host, path: str, text: str = "", mode: int = 0o755) -> Path:
    """Write a file of the host's."""
    file = host.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def test_all_is_missing_on_an_empty_host(host: Host) -> None:
    armhf = {"gcc-arm-linux-gnueabihf", "binutils-arm-linux-gnueabihf", "libc6-dev-armhf-cross"}
    everywhere = {*TOOL_PACKAGES.values(), *FILE_PACKAGES.values()}
    found = missing_packages(host, LINUX_6_1.compilers)
    assert found == tuple(sorted(everywhere | armhf))
    armel = {"gcc-arm-linux-gnueabi", "binutils-arm-linux-gnueabi", "libc6-dev-armel-cross"}
    assert set(missing_packages(host, GOLDFISH_3_4.compilers)) == everywhere | armel
    for prefix in ("/opt/arm-eabi-4.8/bin/arm-eabi-", "/opt/bin/"):
        own = GOLDFISH_3_4.with_cross_compile(prefix)
        assert set(missing_packages(host, own.compilers)) == everywhere | armel


@pytest.mark.parametrize("folder", ["bin", "sbin", "usr/sbin"])
def test_a_tool_is_also_found_in_a_folder_of_root(host: Host, folder: str) -> None:
    assert host.find_tool("kmod") is None
    tool = put(host, f"{folder}/kmod")
    assert host.find_tool("kmod") == str(tool)


def test_age_of_lists(host: Host) -> None:
    lists = host.root / "var/lib/apt/lists"
    assert host.lists_age() == float("inf")
    lists.mkdir(parents=True)
    assert host.lists_age() == float("inf")
    (lists / "mirror_dists_bookworm_InRelease").touch()
    (lists / "partial").mkdir()
    yesterday = time.time() - 86400
    os.utime(lists, (yesterday, yesterday))
    # However busy this host is: less than a day.
    assert host.lists_age() < 80000
    os.utime(lists / "partial", (yesterday, yesterday))
    assert host.lists_age() > 86300


def test_the_half_that_is_there_is_not_missing(host: Host) -> None:
    compiler = put(host, "bin/arm-linux-gnueabi-gcc")
    found = missing_packages(host, GOLDFISH_3_4.compilers)
    assert "gcc-arm-linux-gnueabi" not in found
    assert "libc6-dev-armel-cross" in found
    put(host, "usr/arm-linux-gnueabi/lib/libc.a")
    compiler.unlink()
    found = missing_packages(host, GOLDFISH_3_4.compilers)
    assert "gcc-arm-linux-gnueabi" in found
    assert "libc6-dev-armel-cross" not in found


def test_a_compiler_with_its_whole_path_is_found_there(host: Host) -> None:
    path = host.root / "opt/arm-eabi-gcc"
    assert host.find_tool(str(path)) is None
    put(host, "opt/arm-eabi-gcc")
    assert host.find_tool(str(path)) == str(path)


def test_the_system_says_its_name(host: Host) -> None:
    assert host.os_release() == {}
    put(host, "etc/os-release", "ID=ubuntu\nPRETTY_NAME=\"Ubuntu 24.04 LTS\"\n\nX='y=z'\n")
    found = host.os_release()
    assert found == {"ID": "ubuntu", "PRETTY_NAME": "Ubuntu 24.04 LTS", "X": "y=z"}


def test_a_folder_is_made_where_it_can_be(host: Host) -> None:
    host.check_writable(host.root / "new/folder")
    assert list((host.root / "new/folder").iterdir()) == []
    file = put(host, "file")
    with pytest.raises(OSError, match="Not a directory"):
        host.check_writable(file / "folder")


def test_a_folder_that_is_not_there_yet_has_the_disk_of_its_parent(host: Host) -> None:
    assert host.free_disk(host.root / "not/there") > 0
    assert host.free_memory() > 0


def test_a_network_without_loopback(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.check_loopback()

    def fail(*_: object) -> None:
        raise OSError(99, "no such address")

    monkeypatch.setattr("socket.socket.bind", fail)
    with pytest.raises(InfrastructureError, match=r"no server can listen.*no such address"):
        host.check_loopback()


def test_a_program_is_run_and_may_fail(host: Host, tmp_path: Path) -> None:
    script = put(host, "bin/x", "#!/bin/sh\necho version 1.0\nexit 3\n")
    done = host.run([str(script)], timeout=60)
    assert (done.status, done.output.split()[0]) == (3, "version")
    with pytest.raises(InfrastructureError, match="apt-get update failed"):
        host.run_logged([str(script)], env={"A": "b"}, log=tmp_path / "log", what="apt-get update")
    assert "version" in (tmp_path / "log").read_text()


def test_the_fake_host_asks_nothing_of_this_one() -> None:
    """Each method that tests could reach by mistake is overridden."""
    public = {name for name, _ in inspect.getmembers(Host, inspect.isfunction) if name[0] != "_"}
    assert public <= vars(FakeHost).keys()
