# SPDX-License-Identifier: MIT
"""Bundles of invented runs, and the caches and results that they could be made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from summaries import summary, verdict

from harness.build.bootable import Bootable
from harness.build.modules import MODULE_NAMES
from harness.bundle import archive as bundle_archive
from harness.bundle import built
from harness.bundle.manifest import (
    CONFIG,
    INITRAMFS,
    KERNEL,
    SCHEMA,
    SCHEMA_BUILT,
    Harness,
    Kernel,
    Manifest,
    Member,
    Original,
    Place,
    Rounds,
    Scenarios,
    Told,
)
from harness.core.cache import Cache
from harness.core.typed_json import to_text
from harness.jobs.bundled import Unpacked
from harness.machine.qemu import kernel_command_line
from harness.results.folder import LATEST, ResultFolder
from harness.results.run_result import verdict_json
from harness.scenarios.verdict import Outcome
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import QemuMachine, Target

RELEASE = "6.1.99-gfoom-0123456789ab"
QEMU = "QEMU emulator version 7.2.22"
KERNEL_FACTS = Kernel(
    release=RELEASE,
    toolchain="gcc 12; ld 2.40",
    origin="Debian's linux-source-6.1 6.1.99-1",
    repository=None,
    commit=None,
    changed=(),
)
CONTENTS = {
    KERNEL: b"zImage" * 100,
    CONFIG: b"CONFIG_MMU=y\n",
    INITRAMFS: bytes(range(256)) * 8,
    **{f"modules/{name}.ko": name.encode() for name in MODULE_NAMES},
    "programs/mm_limits_fuzz": b"fuzz",
    "programs/oom_test_kernel": b"oom",
    "original/console.log": b"Booting Linux\n",
    "original/verdict.json": b"{}\n",
}
PACKAGES = ("adbd=34.0.5-12", "libc6=2.41-12")
STORY = summary(
    verdict("boot", Outcome.NOTHING_TO_KILL, policy=""),
    verdict("report", Outcome.WRONG_VICTIM),
    verdict("whole log", Outcome.NOTHING_TO_KILL, policy=""),
)
ORIGINAL = Original(
    passed=False,
    result="FAIL: wrong victim in report (policy rss)",
    outcomes=(
        Told("", "boot", "NOTHING_TO_KILL"),
        Told("rss", "report", "WRONG_VICTIM"),
        Told("", "whole log", "NOTHING_TO_KILL"),
    ),
)


def machine() -> QemuMachine:
    """Return the machine of the target that the bundles here are for."""
    data = LINUX_6_1.machine
    assert isinstance(data, QemuMachine)
    return data


def manifest(contents: dict[str, bytes] | None = None, **changes: Any) -> Manifest:
    """Return a bundle's manifest, with one scenario that failed."""
    files = CONTENTS if contents is None else contents
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "run": "20261122-223145-linux-6.1-rss",
        "command": ("./inv", "emulator-test", "--policy", "rss"),
        "scenarios": Scenarios("rss", "alloc", ("report",)),
        "rounds": None,
        "place": Place(LINUX_6_1.name, "qemu", debug=False),
        "machine": machine(),
        "arguments": kernel_command_line(machine()),
        "qemu": "QEMU emulator version 7.2.22",
        "kernel": KERNEL_FACTS,
        "packages": PACKAGES,
        "harness": Harness("0.1.0", "0123456789abcdef"),
        "original": ORIGINAL,
        "members": tuple(bundle_archive.member_of(name, files[name]) for name in sorted(files)),
    }
    return Manifest(**{**fields, **changes})


def bundle(path: Path, **changes: Any) -> Path:
    """Write a complete bundle to `path`; return `path`."""
    bundle_archive.pack(manifest(**changes), CONTENTS, path)
    return path


# What a manifest says if nothing was run.
ONLY_BUILT: dict[str, Any] = {
    "schema": SCHEMA_BUILT,
    "run": "",
    "command": ("./inv", "bundle", "--build", "--kernel", "linux-6.1", "--emulator", "qemu"),
    "scenarios": None,
    "original": None,
    "qemu": "",
}


def unpacked(file: Path, **changes: Any) -> Unpacked:
    """Return a bundle as it was unpacked, without its files."""
    files = built.unpacked(RELEASE, Path("unpacked"))
    return Unpacked(file, "0" * 64, manifest(**changes), LINUX_6_1, files)


def cached(cache: Cache) -> Bootable:
    """Write a kernel, its modules, programs and guest as entries of a cache; return them."""

    def entry(kind: str, key: str, *names: str) -> list[Path]:
        folder = cache.path(kind, key)
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_bytes(f"{kind} {name}".encode())
        return [folder / name for name in names]

    image, config = entry("kernel", "0123", "zImage", "config")
    (initramfs,) = entry("rootfs", "4567", "initramfs.cpio.gz")
    modules = entry("modules", "89ab", *(f"{name}.ko" for name in MODULE_NAMES))
    programs = entry("programs", "cdef", "oom_test_kernel", "mm_limits_fuzz")
    return Bootable(
        RELEASE, image, config, initramfs, tuple(modules), tuple(programs), packages=PACKAGES
    )


def result(
    results: Path,
    cache: Cache,
    *,
    what: Scenarios | Rounds | None = None,
    target: Target = LINUX_6_1,
    command: str = "./inv emulator-test --policy rss\n",
    kernel: Kernel = KERNEL_FACTS,
) -> Path:
    """Write a run's folder, and what it booted into the cache; return the folder."""
    folder = results / "20261122-223145-linux-6.1-rss"
    folder.mkdir(parents=True)
    (results / LATEST).symlink_to(folder.name)
    what = what or Scenarios("rss", "alloc", ("report",))
    text = to_text(built.record(cache, target, kernel, cached(cache), what))
    store = ResultFolder(folder)
    store.put(built.FILE, text)
    store.put("command.txt", command)
    store.put("kernel.log", "<6>[    0.000000] Booting Linux\n")
    store.put("console.log", "Booting Linux\n")
    if isinstance(what, Scenarios):
        store.put("verdict.json", verdict_json(STORY))
    return folder


# --- any manifest -------------------------------------------------------------


# What str.isprintable() is true of.
PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")


def _texts() -> st.SearchStrategy[str]:
    return st.text(PRINTABLE, max_size=12)


def _plain() -> st.SearchStrategy[str]:
    return st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,8}", fullmatch=True)


def _members() -> st.SearchStrategy[tuple[Member, ...]]:
    more = st.sampled_from(("modules/{}.ko", "programs/{}", "original/{}", "original/guest2/{}"))
    names = st.sets(st.builds(str.format, more, _plain()), max_size=4)
    needed = (KERNEL, INITRAMFS, *(f"modules/{name}.ko" for name in MODULE_NAMES))
    sha256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
    return names.flatmap(
        lambda found: st.tuples(
            *[
                st.builds(Member, st.just(name), st.integers(0, 2**20), sha256)
                for name in sorted({*found, *needed})
            ]
        )
    )


def _lists(item: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(item, max_size=3).map(tuple)


def manifests() -> st.SearchStrategy[Manifest]:
    """Generate any manifest that a bundle can have."""
    small = st.integers(0, 2**32)
    words, maybe = _lists(_texts()), st.none() | _texts()
    scenarios = st.builds(Scenarios, _texts(), _texts(), words, small)
    rounds = st.builds(Rounds, small, small)
    tasks = st.tuples(scenarios, st.none()) | st.tuples(st.none(), rounds)
    data = st.builds(
        QemuMachine, _texts(), _texts(), _texts(), small, small, _texts(), devices=words
    )
    return st.builds(
        lambda task, **fields: manifest(scenarios=task[0], rounds=task[1], **fields),
        tasks,
        run=_texts(),
        command=words,
        place=st.builds(Place, _texts(), _texts(), st.booleans()),
        machine=data,
        arguments=_texts(),
        qemu=_texts(),
        kernel=st.builds(Kernel, _texts(), _texts(), _texts(), maybe, maybe, words),
        packages=words,
        harness=st.builds(Harness, _texts(), _texts(), maybe),
        original=st.builds(
            Original, st.booleans(), _texts(), _lists(st.builds(Told, _texts(), _texts(), _texts()))
        ),
        members=_members(),
    )
