# SPDX-License-Identifier: MIT
"""The snapshots' keys, and that none is used which is not whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import script

from harness.core.cache import Cache
from harness.core.errors import InfrastructureError, ToolMissingError
from harness.machine import qemu, snapshot
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import QemuMachine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QemuMachine:
    """A machine whose QEMU is a file of ours."""
    script(tmp_path / "qemu", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = LINUX_6_1.machine
    assert isinstance(found, QemuMachine)
    return replace(found, binary="qemu")


def test_the_key_is_of_all_that_goes_in(machine: QemuMachine, tmp_path: Path) -> None:
    kernel, initramfs = tmp_path / "kernel", tmp_path / "initramfs"
    kernel.write_text("a kernel")
    initramfs.write_text("a guest")

    def key(machine: QemuMachine = machine, *more: str) -> str:
        words = qemu.qemu_argv(machine, Path(), Path(), adb_port=0, qmp_socket=Path())
        return snapshot.key_of(machine.binary, (*words, *more), kernel, initramfs)

    keys = [
        key(),
        key(replace(machine, smp=4)),
        key(replace(machine, memory_mib=512)),
        key(replace(machine, devices=(*machine.devices, "-icount", "1"))),
        key(replace(machine, console="ttyS0")),
        key(machine, "-rtc", "base=utc"),
    ]
    assert key() == keys[0]
    kernel.write_text("another")
    keys.append(key())
    initramfs.write_text("another")
    keys.append(key())
    script(tmp_path / "qemu", "# a newer one")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_without_qemu_there_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="no-such-qemu"):
        snapshot.key_of("no-such-qemu", (), tmp_path, tmp_path)


def entry(cache: Cache, image: bytes, digest: str | None = None) -> Path:
    def make(folder: Path) -> None:
        (folder / "ready.qcow2").write_bytes(image)
        found = snapshot.copy(folder / "ready.qcow2", folder / "copy")
        (folder / "ready.blake2b").write_text(digest or found)

    return cache.ensure(snapshot.KIND, "key", make)


def test_a_copy_is_handed_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert not cache.has(snapshot.KIND, "key", seal=False)
    entry(cache, b"state" * 1_000_000)
    assert cache.has(snapshot.KIND, "key", seal=False)
    assert snapshot.restore(cache, "key", tmp_path).read_bytes() == b"state" * 1_000_000


def test_what_is_not_what_was_saved_is_not_handed_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    made = entry(cache, b"state", digest="0" * 128)
    with pytest.raises(InfrastructureError, match="not what was saved"):
        snapshot.restore(cache, "key", tmp_path)
    (made / "ready.qcow2").unlink()
    with pytest.raises(InfrastructureError, match=r"lacks ready\.qcow2"):
        snapshot.restore(cache, "key", tmp_path)
    (made / "ready.blake2b").unlink()
    with pytest.raises(InfrastructureError, match=r"lacks ready\.blake2b"):
        snapshot.restore(cache, "key", tmp_path)


def test_an_entry_is_removed_as_a_whole_and_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    entry(cache, b"state")
    cache.remove(snapshot.KIND, "key")
    assert not cache.has(snapshot.KIND, "key", seal=False)
    assert list((tmp_path / "cache" / snapshot.KIND).iterdir()) == []
    cache.remove(snapshot.KIND, "key")
