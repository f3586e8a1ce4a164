# SPDX-License-Identifier: MIT
"""A kernel tree that somebody edits: each edit is built by itself, tested, and judged."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from conftest import Emulate

from harness.build.source import fetch
from harness.build.work_tree import WorkTree
from harness.bundle import built
from harness.core.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PASSED, BuildError
from harness.core.paths import REPO
from harness.core.process import run
from harness.results.folder import LATEST
from harness.targets.model import Target
from harness.ui.workspace import Workspace

FAULT = Path(__file__).parent / "faults" / "growth-ignored.patch"
HARMLESS = """\
--- /dev/null
+++ b/Documentation/harmless.txt
@@ -0,0 +1 @@
+A patch that changes no kernel.
"""
# Both kernels have it, and little depends on it.
EDITED = "lib/ctype.c"
WRONG = """
#include <linux/bug.h>
#include <linux/init.h>
static int __init wrong_kernel(void)
{
	WARN(1, "this kernel is wrong");
	return 0;
}
late_initcall(wrong_kernel);
"""
LONG = 3600.0
_MIB = 1 << 20
# In bytes.
MOST_FOR_AN_EDIT = 50_000_000


@pytest.fixture(scope="module")
def edited(
    workspace: Workspace, plain: Target, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with the kernel's source, to edit; it goes afterwards, with all built of it."""
    folder = tmp_path_factory.mktemp("edited") / "linux"
    run(["cp", "-a", "--reflink=auto", fetch(workspace, plain).tree, folder])
    # A kernel that has never been built.
    save(folder / EDITED, (folder / EDITED).read_text() + f"/* {secrets.token_hex()} */\n")
    yield folder
    work = WorkTree.of(workspace, fetch(workspace, plain, str(folder))).folder
    shutil.rmtree(folder)
    shutil.rmtree(work, ignore_errors=True)


def save(file: Path, text: str) -> None:
    """Save a file as most editors do: another one takes its place."""
    new = file.with_name(f"{file.name}~")
    new.write_text(text)
    new.rename(file)


def verdict(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / LATEST / "verdict.json").read_text())
    return found


def stored(workspace: Workspace) -> dict[str, int]:
    """What the cache has by now, with the size of each."""
    return {
        str(path.relative_to(workspace.cache.root)): path.stat().st_size
        for kind in ("kernel", "modules", "equipped", "sources", "snapshots")
        for path in (workspace.cache.root / kind).rglob("*")
        if path.is_file()
    }


def is_snapshot_of(release: str, workspace: Workspace, name: str) -> bool:
    """Whether a file of the cache is a snapshot of a guest with this kernel: it has its memory."""
    try:
        return name.startswith("snapshots/") and (
            f"Linux version {release} ".encode() in (workspace.cache.root / name).read_bytes()
        )
    except FileNotFoundError:
        # Another test's, which was being saved.
        return False


def test_an_edit_is_built_by_itself_and_judged(
    emulate: Emulate, workspace: Workspace, plain: Target, edited: Path, tmp_path: Path
) -> None:
    options = {"source": str(edited), "scenarios": ("report",)}
    file = edited / EDITED
    text = file.read_text()
    assert emulate(plain, tmp_path, **options) == EXIT_PASSED
    first = verdict(tmp_path)["release"]
    tree = WorkTree.of(workspace, fetch(workspace, plain, str(edited)))
    objects = {path: path.stat().st_mtime_ns for path in tree.build.glob("mm/*.o")}
    before = stored(workspace)

    save(file, text + WRONG)
    assert emulate(plain, tmp_path, **options) == EXIT_FAILED
    assert "boot" in verdict(tmp_path)["result"]
    assert verdict(tmp_path)["release"] != first
    assert objects
    assert {path: path.stat().st_mtime_ns for path in objects} == objects
    new = {name: size for name, size in stored(workspace).items() if name not in before}
    # Other tests fill the cache at the same time.
    key = verdict(tmp_path)["release"].partition("-gfoom-")[2]
    assert any(name.startswith(f"kernel/{key}") for name in new)
    ours = [size for name, size in new.items() if name.startswith(f"kernel/{key}")]
    assert sum(ours) < 40 * _MIB
    booted = built.read((tmp_path / LATEST / built.FILE).read_text())
    entries = tuple({f"{part.kind}/{part.key}/" for part in booted.parts})
    whole = [
        size
        for name, size in new.items()
        if name.startswith(entries) or is_snapshot_of(booted.kernel.release, workspace, name)
    ]
    assert len(whole) > len(ours)
    assert sum(whole) <= MOST_FOR_AN_EDIT
    assert not workspace.cache.path("sources", fetch(workspace, plain, str(edited)).key).exists()

    save(file, text + "this is no C\n")
    with pytest.raises(BuildError, match=r"lib/ctype\.c:\d+:\d+: error"):
        emulate(plain, tmp_path, **options)

    save(file, text)
    assert emulate(plain, tmp_path, **options) == EXIT_PASSED
    assert verdict(tmp_path)["release"] == first


def test_three_saves_are_three_verdicts(plain: Target, edited: Path, tmp_path: Path) -> None:
    file, patch = edited / EDITED, tmp_path / "given.patch"
    text = file.read_text()
    patch.write_text(HARMLESS)
    words = ["--watch", "--policy", "rss", "--scenario", "report"]
    words += ["--kernel", plain.name, "--source", str(edited), "--patch", str(patch)]
    child = pexpect.spawn(
        sys.executable,
        [str(REPO / "inv_program.py"), "emulator-test", *words],
        env={**os.environ, "TERM": "xterm"},
        dimensions=(50, 500),
        encoding="utf-8",
        timeout=LONG,
    )
    log = (tmp_path / "watch.log").open("w")
    child.logfile_read = log
    waiting = "waiting for a save in [^\r]*; Ctrl-C ends it"
    try:
        child.expect("PASS: 1 scenario")
        child.expect(waiting)

        save(file, f"{text}/* harmless */\n")
        child.expect("PASS: 1 scenario")
        child.expect(f"changed: kernel source: {EDITED}")
        child.expect("verdict: the same as before")
        child.expect(waiting)

        save(patch, FAULT.read_text())
        child.expect("FAIL: ")
        child.expect(r"changed: given file: given\.patch")
        child.expect("verdict: report rss: killed as expected → ")
        child.expect(waiting)

        # In the middle of what is done for a first save, a second one comes.
        save(file, f"{text}/* harmless, */\n")
        child.expect(r"(patch|configure|build) kernel")
        save(patch, HARMLESS)
        child.expect("a file was saved: the test begins again")
        child.expect("PASS: 1 scenario")
        child.expect(r"verdict: report rss: .* → killed as expected")
        child.expect(waiting)

        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()
    finally:
        save(file, text)
        child.close(force=True)
        log.close()
    assert (child.exitstatus, child.signalstatus) == (EXIT_INTERRUPTED, None)
