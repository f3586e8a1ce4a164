# SPDX-License-Identifier: MIT
"""The guest's pure parts: mirror, users, package names, applet lists."""

from __future__ import annotations

import pytest

from harness import rootfs
from harness.paths import GUEST

ARCHIVE = "http://archive.example/debian"


@pytest.mark.parametrize(
    ("lines", "mirror"),
    [
        ([f"Debian|Debian|{ARCHIVE}/"], ARCHIVE),
        # Security's archive has Debian's origin and not the suite that is wanted.
        (["Debian|Debian-Security|http://s.example/debian/", f"Debian|Debian|{ARCHIVE}/"], ARCHIVE),
        (["Vendor|Vendor|http://v.example/debian/", f"Debian|Debian|{ARCHIVE}/"], ARCHIVE),
        # apt has not fetched its lists yet.
        (["||http://v.example/apt/", f"||{ARCHIVE}/"], ARCHIVE),
        (["Ubuntu|Ubuntu|http://u.example/ubuntu/"], None),
        ([], None),
    ],
)
def test_pick_mirror(lines: list[str], mirror: str | None) -> None:
    assert rootfs.pick_mirror("\n".join(lines)) == mirror


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
    for needed in ("cat", "chmod", "insmod", "kill", "pkill", "ps", "rmmod", "sleep"):
        assert needed in lists["toybox"]
    # toybox reads /dev/kmsg, which escapes the tabs of the kill records.
    assert "dmesg" in lists["busybox"]
    # Ours, in Android's form.
    assert "su" not in {*lists["toybox"], *lists["busybox"]}
