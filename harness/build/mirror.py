# SPDX-License-Identifier: MIT
"""The git repository that a bisect is done in: one on this machine, or a copy of a distant one.

A bisect needs the history between two commits. The copy of a distant repository, with the whole
history of the two, stays in the cache: the next bisect fetches only what is new.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.build.bisection import Repository
from harness.build.git_source import PROGRESS, fetch_settings, git_argv, is_url
from harness.core.cache import digest
from harness.core.errors import SourceError, UsageError
from harness.core.process import RunOptions, run
from harness.core.text import public, visible
from harness.ui.workspace import Workspace

MIRRORS = "mirrors"
# Names that a server can be asked for. Not a path through the history, such as v6.1~3.
_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_./-]*")


def find_ends(ws: Workspace, source: str, names: tuple[str, ...]) -> tuple[Repository, list[str]]:
    """Return the repository that `source` names, and the hashes of the commits called `names`.

    `source` is a folder or a git URL; that is fetched first. Raises UsageError if there is no
    such repository or commit, SourceError if the server cannot be reached.
    """
    path = Path(source).expanduser()
    if os.path.lexists(path):
        if not path.is_dir():
            raise UsageError(
                f"--source {visible(source)}: a bisect needs a git repository",
                hint="--source DIRECTORY|URL, with the history of the two commits",
            )
        repository = Repository.at(path)
        return repository, [repository.hash_of(name) for name in names]
    if not is_url(source):
        raise UsageError(
            f"--source {visible(source)}: there is no such directory",
            hint="--source DIRECTORY|URL, a git repository",
        )
    return _fetched(ws, source, names)


def _fetched(ws: Workspace, url: str, names: tuple[str, ...]) -> tuple[Repository, list[str]]:
    """Fetch the history of the commits from a server; return as find_ends() does."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{visible(name)} is no name that a server can be asked for",
                hint="with a URL, name a tag, a branch or a full hash",
            )
    key = digest(url)
    log = ws.logs / f"{MIRRORS}-{key}.log"
    refs = {name: f"refs/kept/{digest(name)}" for name in names}

    def make(folder: Path) -> None:
        run([*git_argv(folder), "init", "-q", "--bare"], error=SourceError)

    folder = ws.cache.ensure(MIRRORS, key, make, seal=False)
    with ws.cache.lock(f"{MIRRORS}-{key}"), ws.reporter.phase("fetch the history") as phase:
        log.unlink(missing_ok=True)

        def on_line(line: str) -> None:
            if found := PROGRESS.fullmatch(line.strip()):
                phase.note(f"{found['what'].lower()}: {found['percent']} %")

        words = [
            "fetch",
            "--progress",
            "--no-tags",
            "--no-auto-gc",
            "--refmap=",
            "--end-of-options",
            url,
        ]
        try:
            run(
                [
                    *git_argv(folder),
                    *fetch_settings(),
                    *words,
                    *(f"+{n}:{r}" for n, r in refs.items()),
                ],
                RunOptions(env={"GIT_TERMINAL_PROMPT": "0"}, on_line=on_line),
                log=log,
                error=SourceError,
                what=f"git fetch of {public(url)}",
            )
        except SourceError as failed:
            failed.hint = "with a URL, --good and --bad are a tag, a branch or a full hash of it"
            raise
    ws.cache.grew()
    repository = Repository.at(folder, url)
    return repository, [repository.hash_of(refs[name]) for name in names]
