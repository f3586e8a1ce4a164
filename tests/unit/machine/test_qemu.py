# SPDX-License-Identifier: MIT
"""QEMU's command line, and its start where QEMU does not start."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
from contextlib import closing
from pathlib import Path

import pytest
from stand_ins import script

from harness.core import ports
from harness.core.errors import BootError, ToolMissingError
from harness.machine import qemu
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import QemuMachine, Target


def qemu_machine(target: Target) -> QemuMachine:
    assert isinstance(target.machine, QemuMachine)
    return target.machine


MACHINE = qemu_machine(LINUX_6_1)


def argv(machine: QemuMachine = MACHINE) -> list[str]:
    return qemu.qemu_argv(
        machine, Path("/k/zImage"), Path("/r/i.gz"), adb_port=4711, qmp_socket=Path("/s/qmp")
    )


def test_the_machine_is_the_targets_and_nothing_else() -> None:
    line = " ".join(argv())
    assert line.startswith(f"{MACHINE.binary} -nodefaults -machine {MACHINE.machine} ")
    assert f" -cpu {MACHINE.cpu} -smp {MACHINE.smp} -m {MACHINE.memory_mib}M " in line
    assert f" {' '.join(MACHINE.devices)} " in line
    assert " -no-reboot -kernel /k/zImage -initrd /r/i.gz -append " in line
    # The guest reaches no other machine; adb reaches the guest, from this host alone.
    assert ",restrict=on," in line
    assert ",hostfwd=tcp:127.0.0.1:4711-:5555 " in line


def test_the_board_of_goldfish_on_stock_qemu() -> None:
    words = argv(qemu_machine(GOLDFISH_3_4))
    assert words[:4] == ["qemu-system-arm", "-nodefaults", "-machine", "vexpress-a9"]
    line = " ".join(words)
    assert " -cpu cortex-a9 -smp 2 -m 1024M " in line
    assert " -net nic,model=lan9118,netdev=net0 " in line
    assert "-append console=ttyAMA0 rdinit=/init" in line
    # With it no saved guest goes on.
    assert " -machine secure=off " in line
    # It gets ATAGs.
    assert "-dtb" not in words


def test_the_command_to_paste_is_the_same_without_us() -> None:
    files = Path("/k/a kernel"), Path("/r/i.gz")
    words = shlex.split(qemu.command_to_paste(MACHINE, *files))
    ours = qemu.qemu_argv(MACHINE, *files, adb_port=qemu.GUEST_ADB_PORT, qmp_socket=Path("/s/qmp"))
    at = ours.index("-qmp")
    assert words == [*ours[:at], *ours[at + 2 :]]


def test_the_kernels_command_line() -> None:
    words = argv()[-1].split()
    assert {f"console={MACHINE.console}", "rdinit=/init", "panic=-1"} <= set(words)


def fake_qemu(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shell script as the machine's QEMU, and files for it to boot."""
    script(tmp_path / MACHINE.binary, text)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "image").touch()
    return tmp_path / "image"


def start(image: Path) -> qemu.Machine:
    scratch = image.parent
    return qemu.start(MACHINE, image, image, scratch=scratch, log=scratch / "console.log")


def test_qemu_is_missing(tmp_path: Path) -> None:
    machine = dataclasses.replace(MACHINE, binary="qemu-system-nowhere")
    with pytest.raises(ToolMissingError, match="qemu-system-nowhere"):
        qemu.start(machine, tmp_path, tmp_path, scratch=tmp_path, log=tmp_path / "console.log")


def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BootError, match="there is no"):
        start(tmp_path / "image")


def test_qemu_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = fake_qemu(tmp_path, "echo unsupported machine type; exit 1", monkeypatch)
    with pytest.raises(BootError, match="status 1") as caught:
        start(image)
    assert "unsupported machine type" in caught.value.tail


def test_another_port_is_tried_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = "Could not set up host forwarding rule 'tcp:127.0.0.1:1-:5555'"
    text = f'echo x >>{tmp_path}/starts; echo "{complaint}"; exit 1'
    image = fake_qemu(tmp_path, text, monkeypatch)
    with pytest.raises(BootError, match="status 1"):
        start(image)
    assert (tmp_path / "starts").read_text() == "x\n" * ports.PORT_ATTEMPTS


def test_a_real_qemu_gets_another_port_when_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"\0" * 64)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = ports.free_port()
        choices = iter((taken.getsockname()[1], free))
        monkeypatch.setattr(qemu, "free_port", lambda: next(choices))
        with closing(start(image)) as machine:
            assert machine.address == f"127.0.0.1:{free}"
            # Later ones do not tell of "singlestep".
            status = machine.qmp.execute("query-status")
            assert isinstance(status, dict)
            assert (status["status"], status["running"]) == ("running", True)
    assert machine.console.ended
