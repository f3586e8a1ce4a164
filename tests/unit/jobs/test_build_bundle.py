# SPDX-License-Identifier: MIT
"""`bundle --build`, around a build that is not real."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bundles
import pytest
from stand_ins import workspace

from harness.build import equipment
from harness.bundle import archive as bundle_archive
from harness.bundle import built
from harness.bundle.manifest import SCHEMA_BUILT
from harness.core.cache import file_sha256
from harness.core.errors import BuildError, UsageError
from harness.jobs import build_bundle
from harness.jobs.options import BuildOptions
from harness.machine.qemu import kernel_command_line
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1


class Build:
    """A build that has happened already; what it was asked for is in `asked`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.output = io.StringIO()
        self.ws = workspace(tmp_path / "cache", self.output)
        self.files = bundles.cached(self.ws.cache)
        self.origin = bundles.KERNEL_FACTS.origin
        self.url: str | None = None
        self.asked: list[tuple[object, ...]] = []
        monkeypatch.setattr(equipment, "build", self.build)

    def build(self, _ws: object, *asked: object) -> equipment.Equipment:
        self.asked.append(asked)
        source = SimpleNamespace(origin=self.origin, url=self.url, commit=None, changed=())
        kernel: Any = SimpleNamespace(
            release=bundles.RELEASE, toolchain=bundles.KERNEL_FACTS.toolchain, source=source
        )
        return equipment.Equipment(kernel, self.files)

    def run(self, output: Path | None = None, **options: Any) -> Path:
        given = BuildOptions(**{"target": LINUX_6_1, **options})
        return build_bundle.run(self.ws, given, output)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Build:
    monkeypatch.chdir(tmp_path)
    return Build(monkeypatch, tmp_path)


def test_all_that_would_be_booted_is_in_it(build: Build) -> None:
    file = build.run(patches=(Path("a.patch"),), config=Path("up.config"), source="/tree")
    assert file == Path(f"linux-6.1-{bundles.RELEASE}.bundle.tar.gz")
    assert build.asked == [(LINUX_6_1, "/tree", (Path("a.patch"),), Path("up.config"))]
    unpacked = build.folder / "unpacked"
    unpacked.mkdir()
    manifest = bundle_archive.unpack(file, unpacked)
    assert manifest == bundles.manifest(
        **{**bundles.ONLY_BUILT, "command": manifest.command},
        arguments=kernel_command_line(bundles.machine()),
        harness=built.this_harness(),
        members=manifest.members,
    )
    assert manifest.schema == SCHEMA_BUILT
    assert manifest.command[-4:] == ("--patch", "a.patch", "--config", "up.config")
    found = built.unpacked(bundles.RELEASE, unpacked, bundles.PACKAGES)
    inside = {name: path.read_bytes() for name, path in built.members_of(found)}
    assert inside == {name: path.read_bytes() for name, path in built.members_of(build.files)}
    last = build.output.getvalue().splitlines()[-2:]
    size = bundle_size(file)
    assert last == [
        f"to boot it: ./inv emulator-test --bundle {file}",
        f"{file}: {size}, SHA-256 {file_sha256(file)}",
    ]


def bundle_size(file: Path) -> str:
    """Return a small file's size, as it is told."""
    size = file.stat().st_size
    return f"{size} bytes" if size < 1000 else f"{size / 1000:.1f} kB"


def test_the_same_build_is_the_same_bytes_whatever_it_is_called(build: Build) -> None:
    first = build.run().read_bytes()
    for path in build.ws.cache.root.rglob("*"):
        path.touch()
    assert build.run(build.folder / "other").read_bytes() == first
    build.files.image.write_bytes(b"another kernel")
    assert build.run().read_bytes() != first


def test_another_qemu_or_commit_of_the_same_harness_makes_no_other_bytes(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build.run().read_bytes()
    # Without QEMU and git.
    monkeypatch.setenv("PATH", "")
    assert build.run().read_bytes() == first


def test_nothing_tells_of_the_machine_or_of_passwords(build: Build) -> None:
    build.origin = f"{build.folder}/linux"
    build.url = "https://me:secret@example.invalid/linux"
    file = build.run(
        source=f"{build.folder}/linux",
        target=LINUX_6_1.with_cross_compile(f"{build.folder}/bin/arm-"),
        patches=(build.folder / "a.patch",),
    )
    unpacked = build.folder / "unpacked"
    unpacked.mkdir()
    text = repr(bundle_archive.unpack(file, unpacked))
    assert str(build.folder) not in text
    assert "secret" not in text


def test_what_cannot_be_packed_is_not_built(build: Build) -> None:
    for output, message in (
        (build.folder, "is a folder"),
        (build.folder / "no" / "x", "there is no folder"),
    ):
        with pytest.raises(UsageError, match=message):
            build.run(output)
    with pytest.raises(UsageError, match="not ours to hand on"):
        build.run(target=GOLDFISH_3_4.on("sdk"))
    with pytest.raises(UsageError, match="packs no run"):
        build_bundle.run(build.ws, BuildOptions(target=LINUX_6_1), None, Path("results/x"))
    assert build.asked == []


def test_a_build_that_fails_leaves_no_file(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BuildError("make failed")

    monkeypatch.setattr(equipment, "build", fail)
    with pytest.raises(BuildError):
        build.run()
    assert [path.name for path in build.folder.iterdir()] == ["cache"]


def test_the_kernel_that_checks_itself_says_so(build: Build) -> None:
    file = build.run(target=LINUX_6_1.checking_itself())
    unpacked = build.folder / "unpacked"
    unpacked.mkdir()
    manifest = bundle_archive.unpack(file, unpacked)
    assert replace(manifest.place, debug=False) == bundles.manifest().place
    assert manifest.place.debug
