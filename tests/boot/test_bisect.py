# SPDX-License-Identifier: MIT
"""`./inv bisect` on a history of 30 commits of the real kernel, one of which breaks the killer."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_history import git

from harness.build.bisection import Repository, Verdict, folder_of
from harness.build.listing import Listing
from harness.build.source import KernelSource, fetch
from harness.build.work_tree import WorkTree
from harness.core.errors import EXIT_PASSED
from harness.core.paths import REPO
from harness.results.bisect_result import BISECT, BISECT_LOG, read_bisect
from harness.targets.model import Target
from harness.ui.workspace import Workspace

COMMITS = 30
# Git tests this one first.
NO_C = 15
BREAKS_THE_KILLER = 21
# The kernels have both files. Little depends on the first one.
EDITED, SIGNALS = "lib/ctype.c", "kernel/signal.c"
# A signal that the kernel sends itself is reported as sent, and dropped.
_SENDS = re.compile(r"^int do_send_sig_info\([^)]*\)\n\{\n(?:\t.*;\n)*?(?=\n)", re.MULTILINE)
_DROPS = "\n\tif (sig == SIGKILL && ((unsigned long)info == 1 || (unsigned long)info == 2))\n"
_DROPS += "\t\treturn 0;\n"


@pytest.fixture(scope="module")
def linux(
    workspace: Workspace, plain: Target, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Make a bare repository; what was built of it goes afterwards."""
    folder = tmp_path_factory.mktemp("history") / "linux.git"
    folder.mkdir()
    tree = fetch(workspace, plain).tree
    git(folder, "init", "-q", "--bare", "-b", "main")
    # Without a copy of the files, and without what git would leave out.
    fast = ("-c", "core.compression=1", "-c", "core.autocrlf=false")
    git(folder, *fast, f"--work-tree={tree}", "add", "-A", "-f")
    root = git(folder, "commit-tree", "-m", "commit 1", git(folder, "write-tree"))
    git(folder, "fast-import", "--quiet", stdin=_commits(tree, root))
    yield folder
    place = folder_of(workspace, Repository.at(folder))
    built_of = KernelSource(plain, place, "", "", "", listing=Listing(place, {}))
    shutil.rmtree(folder)
    shutil.rmtree(WorkTree.of(workspace, built_of).folder, ignore_errors=True)


def _commits(tree: Path, root: str) -> bytes:
    """Return the commits after the first one, as `git fast-import` reads them."""
    edited, signals = (tree / EDITED).read_bytes(), (tree / SIGNALS).read_text()
    breaking, count = _SENDS.subn(lambda found: found[0] + _DROPS, signals)
    assert count == 1
    # A kernel that has never been built.
    nonce = secrets.token_hex()
    stream = []
    for number in range(2, COMMITS + 1):
        text = edited + f"/* {nonce} {number} */\n".encode()
        files = {EDITED: text + b"this is no C\n" if number == NO_C else text}
        if number == BREAKS_THE_KILLER:
            files[SIGNALS] = breaking.encode()
        stream += [
            b"commit refs/heads/main",
            b"committer A Committer <committer@invalid> %d +0000" % (1_700_000_000 + number),
            _data(b"commit %d" % number),
            *([b"from %s" % root.encode()] if number == 2 else []),
        ]
        stream += [b"M 644 inline %s\n%s" % (k.encode(), _data(v)) for k, v in files.items()]
    return b"\n".join(stream) + b"\n"


def _data(content: bytes) -> bytes:
    return b"data %d\n%s" % (len(content), content)


def _files_in(folder: Path) -> list[tuple[str, int, int]]:
    """Return all files of the repository with sizes and times; to read them takes long."""
    found = [(path, path.lstat()) for path in sorted(folder.rglob("*"))]
    return [(str(path), status.st_size, status.st_mtime_ns) for path, status in found]


def test_finds_the_commit_that_breaks_the_killer(plain: Target, linux: Path) -> None:
    hashes = git(linux, "rev-list", "--reverse", "main").split()
    assert len(hashes) == COMMITS
    before = _files_in(linux)
    words = ["--source", str(linux), "--good", hashes[0], "--bad", "main", "--policy", "rss"]
    words += ["--kernel", plain.name, "--scenario", "report", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, str(REPO / "inv_program.py"), "bisect", *words],
        env=os.environ | {"INVOKE_GOLDFISH_OOM_OUTPUT": "plain"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    guilty, unbuilt = hashes[BREAKS_THE_KILLER - 1], hashes[NO_C - 1]
    assert lines[-1] == f"first bad commit: {guilty[:12]} commit {BREAKS_THE_KILLER}", done.stdout
    assert done.returncode == EXIT_PASSED
    assert _files_in(linux) == before
    (named,) = (line for line in lines if line.startswith("results: "))
    folder = Path(named.removeprefix("results: "))
    result = read_bisect((folder / BISECT).read_text())
    verdicts = {one.commit: one for one in result.steps}
    assert verdicts[unbuilt].verdict is Verdict.SKIPPED
    assert re.search(r"lib/ctype\.c:\d+:\d+: error", verdicts[unbuilt].reason)
    assert f"git bisect skip {unbuilt}" in (folder / BISECT_LOG).read_text()
    for commit, step in verdicts.items():
        if commit != unbuilt:
            is_bad = hashes.index(commit) >= BREAKS_THE_KILLER - 1
            assert step.verdict is (Verdict.BAD if is_bad else Verdict.GOOD), done.stdout
            assert (folder / step.folder / "report.html").is_file()
    shutil.rmtree(folder)
