# SPDX-License-Identifier: MIT
"""What a run writes down of what it booted can be found again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import pytest

from harness.bundle import built
from harness.bundle.manifest import Place, Rounds, Scenarios
from harness.core.cache import Cache
from harness.core.typed_json import to_text
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1

WHAT = Scenarios("rss", "alloc", ("report",))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def text(cache: Cache) -> str:
    files = bundles.cached(cache)
    return to_text(built.record(cache, LINUX_6_1, bundles.KERNEL_FACTS, files, WHAT))


def test_what_was_booted_is_found_again(cache: Cache, text: str) -> None:
    found = built.read(text)
    assert (found.scenarios, found.rounds, found.qemu) == (WHAT, None, bundles.QEMU)
    assert found.arguments.startswith("console=")
    assert found.can_be_bundled
    assert found.place == Place(LINUX_6_1.name, "qemu", debug=False)
    assert found.machine == LINUX_6_1.machine
    assert found.packages == bundles.PACKAGES
    contents = {part.member: part.path(cache).read_text() for part in found.parts}
    assert contents["kernel/image"] == "kernel zImage"
    assert contents["guest/initramfs"] == "rootfs initramfs.cpio.gz"
    assert contents["modules/set_mm_limits.ko"] == "modules set_mm_limits.ko"
    assert contents["programs/oom_test_kernel"] == "programs oom_test_kernel"
    assert str(cache.root) not in text


def test_a_run_of_the_fuzz_test_on_a_kernel_that_checks_itself(cache: Cache) -> None:
    files, target = bundles.cached(cache), LINUX_6_1.checking_itself()
    found = built.record(cache, target, bundles.KERNEL_FACTS, files, Rounds(7, 0))
    assert built.read(to_text(found)) == found
    assert (found.scenarios, found.rounds, found.place.debug) == (None, Rounds(7, 0), True)


def test_a_run_on_an_android_emulator_has_no_machine_of_ours(cache: Cache) -> None:
    target = GOLDFISH_3_4.on("sdk")
    found = built.record(cache, target, bundles.KERNEL_FACTS, bundles.cached(cache), WHAT)
    assert (found.machine, found.can_be_bundled) == (None, False)


def test_a_replay_has_no_parts(cache: Cache, tmp_path: Path) -> None:
    # They are in a folder that goes away.
    files = built.unpacked(bundles.RELEASE, tmp_path)
    found = built.record(cache, LINUX_6_1, bundles.KERNEL_FACTS, files, WHAT, Path("a\n.gz"))
    assert (found.parts, found.replay_of, found.can_be_bundled) == ((), "a\\x0a.gz", False)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(format=2),
        lambda value: value.pop("kernel"),
        lambda value: value["parts"][0].update(kind=".."),
        lambda value: value["parts"][0].update(file="../../x"),
        lambda value: value["parts"][0].update(kind="/etc"),
    ],
)
def test_what_is_no_record_is_a_value_error(text: str, change: Callable[[Any], None]) -> None:
    value = json.loads(text)
    change(value)
    with pytest.raises(ValueError, match=r"."):
        built.read(json.dumps(value))


def test_what_was_unpacked_is_bootable(tmp_path: Path) -> None:
    for name, data in bundles.CONTENTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    files = built.unpacked(bundles.RELEASE, tmp_path)
    inside = {name: path.read_bytes() for name, path in built.members_of(files)}
    assert inside == {k: v for k, v in bundles.CONTENTS.items() if not k.startswith("original")}


def test_how_to_hand_a_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hint = built.how_to_hand_on(tmp_path / "results/a b")
    assert hint == "to hand it on: ./inv bundle 'results/a b'"
    assert built.how_to_hand_on(Path("/x")) == "to hand it on: ./inv bundle /x"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")  # noqa: PTH106
    assert built.how_to_hand_on(Path("/x")) == "to hand it on: ./inv bundle /x"
