# SPDX-License-Identifier: MIT
"""The guest: its users, its su, its folders, its commands, and the device's shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from device_work import SECONDS, eventually

from harness.build.kernel import KernelBuild
from harness.core.errors import DeviceError
from harness.core.paths import GUEST
from harness.core.ports import free_port
from harness.machine.adb import Device
from harness.machine.qemu import GUEST_ADB_PORT
from harness.machine.session import QEMU_COMMAND, Session

ONE_CPU = True

APP = 10070
APP_ID = "uid=10070(u0_a70) gid=10070(u0_a70) groups=10070(u0_a70)"
FOLDER = "/data/local/tmp"


@pytest.fixture
def guest(booted: Session) -> Device:
    return booted.device


def test_the_kernel_is_the_one_that_was_built(guest: Device, kernel: KernelBuild) -> None:
    assert guest.shell("uname -r").output == f"{kernel.release}\n"


def test_the_kernel_has_jump_labels(guest: Device) -> None:
    # In the kernel itself: the configuration has them even if the compiler does not support them.
    assert guest.shell("grep -w arch_jump_label_transform /proc/kallsyms").output


def test_the_command_that_is_left_boots_the_same(booted: Session, tmp_path: Path) -> None:
    command = (booted.folder / QEMU_COMMAND).read_text()
    # Two guests cannot use the same port, and other guests may run on this host.
    command = command.replace(f":{GUEST_ADB_PORT}-", f":{free_port()}-")
    log = tmp_path / "console.log"
    with log.open("wb") as output:
        guest = subprocess.Popen(
            ["sh", "-c", f"exec {command}"], stdin=subprocess.DEVNULL, stdout=output
        )
        try:
            assert eventually(lambda: b"goldfish-oom: init ready" in log.read_bytes())
        finally:
            guest.kill()
            guest.wait()


def test_adb_is_root(guest: Device) -> None:
    assert "uid=0(root) gid=0(root)" in guest.shell("id").output


@pytest.mark.parametrize(
    "command",
    [
        "su 10070 id",
        "su u0_a70 id",
        "su 10070 sh -c id",
        "su u0_a70 sh -c 'id; exit 0'",
        "echo id | su u0_a70",
    ],
)
def test_su_takes_a_uid_or_a_name_and_a_command(guest: Device, command: str) -> None:
    assert guest.shell(command).output.strip() == APP_ID


def test_su_without_a_user_is_root(guest: Device) -> None:
    assert "uid=0(root)" in guest.shell("echo id | su").output


def test_su_takes_a_uid_that_nobody_has(guest: Device) -> None:
    status = guest.shell("su 23456 grep -E '^(Uid|Gid|Groups):' /proc/self/status").output
    assert status.split() == ["Uid:", *["23456"] * 4, "Gid:", *["23456"] * 4, "Groups:"]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("su u0_a70 sh -c 'exit 7'", 7),
        ("su u0_a70 no_such_command", 127),
        ("su u0_a70 /data", 126),
        ("su nobody_at_all id", 1),
        ("su -1 id", 1),
        ("su 4294967295 id", 1),
        ("su 10070x id", 1),
        # A user other than root cannot become another user.
        ("su u0_a70 su u0_a71 id", 1),
        ("su u0_a70 su 0 id", 1),
    ],
)
def test_the_status_of_su(guest: Device, command: str, status: int) -> None:
    assert guest.shell(command, check=False).status == status


def test_su_passes_arguments_as_they_are(guest: Device) -> None:
    assert guest.shell("su u0_a70 printf '<%s>' 'a b' '' '$HOME'").output == "<a b><><$HOME>"


def test_an_app_starts_with_an_ordinary_oom_score(guest: Device) -> None:
    assert guest.shell("cat /proc/self/oom_score_adj", user=APP).output == "0\n"


@pytest.mark.parametrize("user", [None, APP])
def test_no_signal_is_ignored(guest: Device, user: int | None) -> None:
    # Ctrl-C in the shell of `./inv boot` sends one.
    status = guest.shell("cat /proc/self/status", user=user).output
    assert re.search(r"(?m)^SigIgn:\t0+$", status)


def test_adbd_is_never_the_oom_killers_victim(guest: Device) -> None:
    assert guest.shell("cat /proc/$(pidof adbd)/oom_score_adj").output == "-1000\n"


def test_every_user_is_known(guest: Device) -> None:
    assert guest.shell("id -u shell").output.strip() == "2000"
    assert guest.shell("id -u u0_a0").output.strip() == "10000"
    assert guest.shell("id -u u0_a99").output.strip() == "10099"


def test_an_app_runs_what_is_pushed_and_cannot_write_there(guest: Device, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/system/bin/sh\nid\n")
    guest.push(script, f"{FOLDER}/script", 0o755)
    assert guest.shell(f"{FOLDER}/script", user=APP).output.strip() == APP_ID
    # As on Android: mode 0771, owned by shell.
    assert guest.shell(f"stat -c '%a %U %G' {FOLDER}").output == "771 shell shell\n"
    assert guest.shell(f"touch {FOLDER}/x", user=APP, check=False).status != 0
    assert guest.shell(f"ls {FOLDER}", user=APP, check=False).status != 0
    guest.shell(f"touch {FOLDER}/x && rm {FOLDER}/x", user=2000)
    guest.shell("touch /tmp/x && rm /tmp/x", user=APP)


@pytest.mark.parametrize("mode", [0o755, 0o644, 0o600])
def test_push_keeps_the_content_and_the_mode(guest: Device, tmp_path: Path, mode: int) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    guest.push(tmp_path / "file", f"{FOLDER}/file", mode)
    assert guest.shell(f"stat -c '%a %s' {FOLDER}/file").output == f"{mode:o} {len(data)}\n"


def test_push_into_a_folder_that_is_not_there(guest: Device, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DeviceError, match="cannot push file to /proc/nowhere/file"):
        guest.push(tmp_path / "file", "/proc/nowhere/file")
    assert guest.shell("echo still here").output == "still here\n"


def test_every_applet_is_served(guest: Device) -> None:
    for program in ("toybox", "busybox"):
        lines = (GUEST / f"{program}.applets").read_text().splitlines()
        wanted = {line for line in lines if not line.startswith("#")}
        listing = guest.shell("busybox --list" if program == "busybox" else "toybox").output
        assert wanted - set(listing.split()) == set()


# Commands that the harness, the guest and the tests run in the guest, also on the oldest kernel;
# each with its output. Other tests load and unload modules.
WORK = {
    "busybox dd if=/dev/zero of=/tmp/w/dd bs=4k count=3 2>/dev/null; stat -c %s /tmp/w/dd": "12288",
    "busybox dmesg -r | grep -c 'Linux version'": "1",
    "busybox dmesg -n 4 && busybox dmesg -n 7": "",
    "busybox mount -t tmpfs tmpfs /tmp/w && mountpoint -q /tmp/w && umount /tmp/w": "",
    "mkfifo -m 666 /tmp/w/a && touch /tmp/w/b && busybox mount --bind /tmp/w/a /tmp/w/b"
    " && stat -c %a /tmp/w/b && umount /tmp/w/b": "666",
    "busybox setsid sleep 60 </dev/null >/dev/null 2>&1 & busybox sleep 0.5; pkill -9 sleep;"
    " echo $?": "0",
    "cd /tmp/w && echo x > x && busybox tar -cf t x && rm x && busybox tar -xf t && cat x": "x",
    "cp /tmp/w /tmp/v -r && mv /tmp/v /tmp/w/v && ls /tmp/w": "v",
    "mkdir -p /tmp/w/d/e && chmod 0751 /tmp/w/d && stat -c %a /tmp/w/d && rmdir /tmp/w/d/e": "751",
    "touch /tmp/w/x && chown 2000:2000 /tmp/w/x && stat -c '%U %G' /tmp/w/x": "shell shell",
    "echo a b | cut -d ' ' -f 2; printf '%s\\n' 'a b'; seq 2": "b\na b\n1\n2",
    "[ $(date +%s) -gt 0 ] && test -e /proc/self && true; echo $?": "0",
    "sleep 60 & sleep 0.5; kill $!; wait $! 2>/dev/null; echo $?": "143",
    "sleep 60 & sleep 0.5; killall sleep; wait $! 2>/dev/null; echo $?": "143",
    "sleep 60 & sleep 0.5; pgrep sleep | grep -c $!; pidof sleep | grep -c $!; kill -9 $!": "1\n1",
    "su u0_a70 sh -c 'sleep 60 & sleep 60 & sleep 0.5; pgrep -u 10070 sleep | grep -c .;"
    " pkill -9 -n -u 10070 sleep; pkill -9 -u 10070 sleep; pgrep -u 10070 sleep'": "2",
    "head -c 16 /dev/urandom | wc -c; od -An -N4 -tx1 /dev/zero": "16\n 00 00 00 00",
    "grep -E '^(Uid|Gid):' /proc/self/status | sed 's/\\t/ /g'": "Uid: 0 0 0 0\nGid: 0 0 0 0",
    "ip addr show eth0 | grep -c 10.0.2.15; hostname; uname -s": "1\ngoldfish-oom\nLinux",
    "sync; ulimit -n 100 && ulimit -n": "100",
    "mount -t debugfs debugfs /tmp/w 2>/dev/null && umount /tmp/w; echo": "",
    "ps -A -o PID,NAME | grep -c adbd": "1",
    "find /tmp/w -type d; env | grep -c ^PATH=": "/tmp/w\n1",
}


@pytest.mark.parametrize("command", WORK)
def test_a_command_works_on_this_kernel(guest: Device, command: str) -> None:
    guest.shell("rm -rf /tmp/w && mkdir /tmp/w")
    said = guest.shell(f"({command})", check=False).output
    guest.shell("rm -rf /tmp/w")
    assert said.rstrip("\n") == WORK[command]


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
@pytest.mark.parametrize("user", [None, APP])
def test_exit_ends_the_shell_and_its_status_comes_back(
    guest: Device, status: int, user: int | None
) -> None:
    result = guest.shell(f"echo before; exit {status}", user=user, check=False)
    assert (result.status, result.output) == (status, "before\n")


def test_a_command_that_was_killed(guest: Device) -> None:
    assert guest.shell("sh -c 'kill -9 $$'", check=False).status == 128 + 9


def test_a_status_is_checked(guest: Device) -> None:
    with pytest.raises(DeviceError, match="status 3") as caught:
        guest.shell("echo because; exit 3")
    assert caught.value.tail == "because"


def test_output_without_a_last_newline_and_from_stderr(guest: Device) -> None:
    assert guest.shell("printf a; printf b >&2").output in ("ab", "ba")
    assert guest.shell("printf 'ä\\n\\tx'").output == "ä\n\tx"


def test_large_output_is_whole(guest: Device) -> None:
    output = guest.shell("seq 1 200000").output
    assert output == "".join(f"{n}\n" for n in range(1, 200001))


def test_standard_input_is_empty(guest: Device) -> None:
    assert guest.shell("cat; echo end", timeout=SECONDS).output == "end\n"


def test_lines_come_while_the_command_runs(guest: Device) -> None:
    go = "/tmp/lines-came"
    guest.shell(f"rm -f {go}; mkfifo {go}")
    command = guest.start(f"echo one; echo two; cat /proc/uptime >/dev/null; cat {go}; exit 4")
    assert command.wait_line("one", SECONDS) == "one"
    assert command.wait_line(re.compile("^t.o$"), SECONDS) == "two"
    assert not command.ended
    guest.shell(f": >{go}")
    result = command.wait(SECONDS)
    assert (result.status, result.output) == (4, "one\ntwo\n")
    command.close()


def test_a_line_that_never_comes(guest: Device) -> None:
    command = guest.start("echo one; exit 2")
    with pytest.raises(DeviceError, match="ended with status 2 and no line like 'three'"):
        command.wait_line("three", SECONDS)
    command.close()


def test_a_command_that_takes_too_long_is_not_a_dead_guest(guest: Device) -> None:
    with pytest.raises(DeviceError, match=r"has not ended within 0\.5 s"):
        guest.shell("sleep 60", timeout=0.5)
    assert guest.shell("echo still here").output == "still here\n"


def test_a_file_of_the_kernels_is_written_at_once_or_refused(guest: Device) -> None:
    before = guest.read_file("/proc/sys/vm/swappiness")
    guest.write_file("/proc/sys/vm/swappiness", "10")
    assert guest.read_file("/proc/sys/vm/swappiness") == "10\n"
    guest.write_file("/proc/sys/vm/swappiness", before)
    with pytest.raises(DeviceError, match="status 1") as caught:
        guest.write_file("/proc/sys/vm/swappiness", "-5")
    assert "Invalid argument" in caught.value.tail


def test_the_kernel_log_has_levels_tabs_and_our_marks(guest: Device) -> None:
    guest.mark_kernel_log("mark: a\tb")
    log = guest.kernel_log()
    assert re.search(r"(?m)^<\d+>\[ *\d+\.\d{6}\] mark: a\tb$", log)
    # The log is complete from its begin: the buffer holds a whole run.
    assert "Booting Linux" in log


def test_orphans_are_buried(guest: Device) -> None:
    guest.shell("for i in 1 2 3 4 5; do (sleep 0.2 &); done; sleep 1")

    def nobody_is_left() -> bool:
        states = guest.shell("cat /proc/[0-9]*/stat 2>/dev/null", check=False).output
        return not re.findall(r"(?m)^\d+ \(.*\) Z ", states)

    # A process may have ended at this moment.
    eventually(nobody_is_left)


def test_init_said_nothing_but_that_it_is_ready(guest: Device) -> None:
    log = guest.kernel_log().splitlines()
    # Other tests on this machine have left their marks.
    marks = re.compile(r"goldfish-oom: (?:begin|end) ")
    lines = [line for line in log if "goldfish-oom:" in line and not marks.search(line)]
    assert len(lines) == 1
    assert "init ready" in lines[0]
