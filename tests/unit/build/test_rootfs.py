# SPDX-License-Identifier: MIT
"""The guest: its packages, users and applets, and its archive."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_ins import workspace

from harness.build import rootfs
from harness.core.errors import SourceError
from harness.core.paths import GUEST
from harness.targets.linux_6_1 import LINUX_6_1

MMDEBSTRAP = r"""
case " $* " in
*\ {broken}\ *) echo "E: the lists do not fit" >&2; exit 25 ;;
esac
for word; do case $word in *.tar) archive=$word ;; esac; done
cd "$TMPDIR" && mkdir -p t/usr/bin t/usr/lib/android-sdk/platform-tools t/usr/lib/arm \
    t/usr/lib/diet/bin t/usr/lib/klibc/bin || exit 1
touch t/usr/lib/diet/bin/mksh t/usr/lib/klibc/bin/mksh
touch t/usr/bin/busybox t/usr/bin/mksh t/usr/bin/toybox t/usr/lib/arm/libc.so.6 \
    t/usr/lib/ld-linux.so.3 t/usr/lib/android-sdk/platform-tools/adbd
tar -C t -cf "$archive" . && echo adbd_34.0.5-13_armhf.deb
"""


def fetch(tmp_path: Path, put_on_path: Callable[[str, str], Path], broken: str) -> str:
    """The packages of the guest, and what was said; a shell pattern names the broken suites."""
    put_on_path("mmdebstrap", MMDEBSTRAP.replace("{broken}", broken))
    for name in ("apt-get", "apt-config"):
        put_on_path(name, "")
    said = io.StringIO()
    folder = tmp_path / "entry"
    folder.mkdir()
    rootfs._fetch(workspace(tmp_path / "cache", said), LINUX_6_1, folder)
    assert (folder / "root/usr/lib/android-sdk/platform-tools/adbd").is_file()
    assert (folder / "root/usr/lib/diet/bin/mksh").is_file()
    return (folder / "packages").read_text() + said.getvalue()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("none", ""),
        ("trixie", "the guest's packages are sid's: trixie's cannot be had now\n"),
    ],
)
def test_the_second_suite_stands_in_for_the_first_and_it_is_said(
    tmp_path: Path, put_on_path: Callable[[str, str], Path], broken: str, said: str
) -> None:
    assert fetch(tmp_path, put_on_path, broken) == f"adbd=34.0.5-13\n{said}"


def test_without_any_suite_the_first_ones_failure_is_told(
    tmp_path: Path, put_on_path: Callable[[str, str], Path]
) -> None:
    with pytest.raises(SourceError, match=r"\(trixie, armhf\)") as caught:
        fetch(tmp_path, put_on_path, "[a-z]*")
    assert "E: the lists do not fit" in caught.value.tail
    assert caught.value.log is not None
    assert caught.value.log.name == "guest-packages.log"


def test_app_users_have_androids_numbers() -> None:
    entries = {line.split(":")[0]: line.split(":") for line in rootfs.passwd_lines()}
    assert entries["u0_a70"][2:4] == ["10070", "10070"]
    assert entries["root"][2] == "0"
    assert entries["shell"][2] == "2000"
    assert {f"u0_a{n}" for n in range(100)} <= entries.keys()
    assert all(len(entry) == 7 for entry in entries.values())


def test_each_user_has_the_group_that_passwd_names() -> None:
    groups = {line.split(":")[2] for line in rootfs.group_lines()}
    assert {line.split(":")[3] for line in rootfs.passwd_lines()} <= groups


def test_package_name_keeps_the_epoch() -> None:
    archive = "busybox-static_1%3a1.37.0-6+b9_armhf.deb"
    assert rootfs.package_name(archive) == "busybox-static=1:1.37.0-6+b9"


def test_applets_are_sorted_and_served_once() -> None:
    lists = {}
    for program in ("toybox", "busybox"):
        lines = (GUEST / f"{program}.applets").read_text().splitlines()
        lists[program] = [line for line in lines if not line.startswith("#")]
        assert lists[program] == sorted(set(lists[program]))
    assert not set(lists["toybox"]) & set(lists["busybox"])
    for needed in ("cat", "chmod", "kill", "pkill", "ps", "rmmod", "sleep"):
        assert needed in lists["toybox"]
    # toybox reads /dev/kmsg, which escapes the tabs of the kill records.
    assert "dmesg" in lists["busybox"]
    # toybox's says "Bad address" where the kernel is older than finit_module.
    assert "insmod" in lists["busybox"]
    # Ours, in Android's form.
    assert "su" not in {*lists["toybox"], *lists["busybox"]}


@pytest.mark.parametrize("has_diet", [True, False])
def test_the_static_shell_is_dietlibcs(tmp_path: Path, has_diet: bool) -> None:
    commands, libraries = tmp_path / "system/bin", tmp_path / "usr/lib"
    for folder in (commands, tmp_path / "usr/bin", libraries / "android-sdk/platform-tools"):
        folder.mkdir(parents=True)
    for name in rootfs.PROGRAMS:
        (tmp_path / "usr/bin" / name).touch()
    (libraries / "android-sdk/platform-tools/adbd").touch()
    for library in ("diet", "klibc") if has_diet else ("klibc",):
        (libraries / library / "bin").mkdir(parents=True)
        (libraries / library / "bin/mksh").write_text(library)
    rootfs._commands(tmp_path)
    assert not list(libraries.glob("*/bin"))
    shell = commands / rootfs.STATIC_SHELL
    assert (shell.read_text() if shell.exists() else None) == ("diet" if has_diet else None)
    assert (commands / "sh").readlink() == Path("mksh")


# --- archives for a kernel to unpack -------------------------------------------------


def stage(folder: Path, name: str, mode: int) -> Path:
    (folder / "etc").mkdir(parents=True)
    path = folder / "etc" / name
    path.write_text(f"{name}\n")
    path.chmod(mode)
    os.utime(path, (1e9, 1e9))
    return folder


def listing(archive: bytes) -> str:
    assert shutil.which("cpio"), "cpio is one of the packages of ./inv setup"
    done = subprocess.run(
        ["cpio", "-tv", "--quiet"], input=archive, capture_output=True, check=True
    )
    return done.stdout.decode()


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    for number in (1, 2):
        rootfs.pack(stage(tmp_path / str(number), "a", 0o640), tmp_path / f"{number}.gz")
    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "2.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "1.gz", "2", "2.gz"]


def test_all_is_roots_and_for_everybody(tmp_path: Path) -> None:
    archive = tmp_path / "x.gz"
    rootfs.pack(stage(tmp_path / "stage", "run", 0o700), archive)
    line = listing(gzip.decompress(archive.read_bytes())).splitlines()[-1].split()
    assert line[0] == "-rwxr-xr-x"
    assert line[2:4] == ["root", "root"]
    assert line[-1] == "etc/run"


def test_one_can_follow_another(tmp_path: Path) -> None:
    both = b""
    for name in ("a", "b"):
        rootfs.pack(stage(tmp_path / name, name, 0o644), tmp_path / f"{name}.gz")
        both += (tmp_path / f"{name}.gz").read_bytes()
    # gzip's members in a row are one stream, as for the kernel.
    whole = gzip.decompress(both)
    assert "etc/a" in listing(whole)
    assert whole.count(b"TRAILER!!!") == 2
