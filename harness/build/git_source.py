# SPDX-License-Identifier: MIT
"""Kernel sources from git: one commit, without its history."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.build.listing import shown
from harness.core.cache import KEY_LENGTH
from harness.core.errors import CommandError, SourceError, UsageError
from harness.core.process import RunOptions, run
from harness.targets.model import GitSource
from harness.ui.workspace import Workspace

# The form of a `--source` that is a git URL: the URL is everything up to the last @.
_GIT_SOURCE = re.compile(r"(?P<url>.+)@(?P<commit>[^@/]*)")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# The answer of `git ls-remote`; git may print warnings before it.
_HEAD = re.compile(rf"^(?P<commit>{_COMMIT.pattern})\t", re.MULTILINE)
_URL = re.compile(r"[a-z][a-z0-9+]*://|[^/]+@[^/]+:|[^/:]+\.[^/:]+:")
PROGRESS = re.compile(r"(?:remote: )?(?P<what>[A-Z][a-z]+ [a-z]+): +(?P<percent>\d+)%.*")
# The messages of servers that only serve the tips of branches.
_NOT_A_TIP = re.compile(r"not our ref|unadvertised object|no such remote ref|not advertised", re.I)
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0"}
# A file's line in `git status --porcelain`; git may print warnings among these lines.
_CHANGED_FILE = re.compile(r"[ ACDMTU]{2} (?P<name>.+)")
# A file's line in `git ls-files -v`: a lower-case letter says `--assume-unchanged`, S says
# `--skip-worktree`.
_FILE = re.compile(r"(?:(?P<looked_at>[A-RT-Z?])|[a-zS]) (?P<name>.+)")
# What is in a submodule is new to git, so it need not run there.
_STATUS = ("status", "--porcelain", "--no-renames", "-uno", "--ignore-submodules=all")
_FILTERS = ("config", "--name-only", "--get-regexp", r"^filter\.")
# A server that is out of reach may never answer.
_ASK_SECONDS = 20.0
# A server is also silent while it puts a commit together, but not for so long.
_SILENT_SECONDS = 120
OTHER_SOURCE = "give a source by hand: --source DIRECTORY|TARBALL|URL@COMMIT"


def is_url(source: str) -> bool:
    """Return whether this has the form of a git URL."""
    return _URL.match(source) is not None


def parse_git_source(source: str) -> tuple[str, str]:
    """Return the URL and the commit of `URL@COMMIT`; UsageError says what is missing."""
    found = _GIT_SOURCE.fullmatch(source)
    if found is not None and _COMMIT.fullmatch(found["commit"]):
        return found["url"], found["commit"]
    if is_url(source):
        raise UsageError(
            f"--source {source}: a git URL needs @ and a full commit hash behind it",
            hint="git ls-remote URL prints the hashes of branches and tags",
        )
    raise UsageError(f"--source {source}: there is no such file or directory", hint=OTHER_SOURCE)


@dataclass(frozen=True)
class _Branch:
    """The last commit of a branch, as its server told it last."""

    commit: str


def commit_of(ws: Workspace, source: GitSource) -> str:
    """Return the pinned commit, or else the branch's current head.

    If the server cannot be asked, the head from the last answer is returned, and a message says
    so. Raises SourceError if neither is known, CommandError if the server does not answer.
    """
    if source.commit is not None:
        return source.commit
    about = ("branches", source.url, source.branch)
    ref = f"refs/heads/{source.branch}"
    try:
        answer = run(
            ls_remote_argv(source.url, ref),
            RunOptions(env=_ENVIRONMENT, timeout=_ASK_SECONDS),
            error=SourceError,
            what=f"git ls-remote {source.url}",
        )
    except (SourceError, CommandError) as failed:
        known = ws.cache.noted(_Branch, *about)
        if known is None:
            failed.hint = f"look at the network, or {OTHER_SOURCE}"
            raise
        ws.reporter.say(f"{source.url} cannot be asked; {source.branch} was at {known.commit[:12]}")
        return known.commit
    found = _HEAD.search(answer.output)
    if found is None:
        raise SourceError(f"{source.url} has no branch {source.branch}", hint=OTHER_SOURCE)
    ws.cache.note(_Branch(found["commit"]), *about)
    return found["commit"]


def ls_remote_argv(url: str, ref: str) -> list[str]:
    """Return the command that asks a server for one of its branches."""
    return ["git", "ls-remote", "--exit-code", "--end-of-options", url, ref]


def git_argv(tree: Path) -> list[str]:
    """Return how every git command for `tree` begins: without the user's hooks and line ends."""
    words = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "-C", str(tree)]
    return [*words, "-c", "advice.detachedHead=false", "-c", "init.defaultBranch=main"]


def fetch_settings() -> list[str]:
    """Return the settings with which git fetches a kernel's commits."""
    return [
        # Old kernels have objects that git refuses under strict settings; their hashes prove that
        # they are the requested ones.
        *("-c", "fetch.fsckObjects=false"),
        *("-c", "http.lowSpeedLimit=1", "-c", f"http.lowSpeedTime={_SILENT_SECONDS}"),
    ]


def fetch_argv(tree: Path, url: str, commit: str) -> list[str]:
    """Return the command that fetches one commit without history."""
    words = ["fetch", "--progress", "--depth=1", "--no-tags", "--end-of-options", url, commit]
    return [*git_argv(tree), *fetch_settings(), *words]


def checkout(ws: Workspace, url: str, commit: str, tree: Path, note: Callable[[str], None]) -> None:
    """Write the files of one commit to `tree`, without `.git`; report progress to `note`.

    Raises SourceError if the server cannot be reached, or has no such commit.
    """
    log = ws.logs / f"git-{commit[:KEY_LENGTH]}.log"
    log.unlink(missing_ok=True)

    def on_line(line: str) -> None:
        if found := PROGRESS.fullmatch(line.strip()):
            note(f"{found['what'].lower()}: {found['percent']} %")

    tree.mkdir()
    commands = {
        "init": [*git_argv(tree), "init", "-q"],
        "fetch": fetch_argv(tree, url, commit),
        "checkout": [*git_argv(tree), "checkout", "-q", commit],
    }
    for verb, argv in commands.items():
        try:
            run(
                argv,
                RunOptions(env=_ENVIRONMENT, on_line=on_line),
                log=log,
                error=SourceError,
                what=f"git {verb} of {url}",
            )
        except SourceError as failed:
            if _NOT_A_TIP.search(failed.tail):
                failed.hint = (
                    "this server gives out no such commit by itself: clone the repository, "
                    "check the commit out, and give the folder to --source"
                )
            raise
    shutil.rmtree(tree / ".git")


@dataclass(frozen=True)
class TreeState:
    """The commit of a git work tree, and the files that may differ from it, including new ones."""

    commit: str
    changed: tuple[str, ...]


def state_of(path: Path, built: Iterable[str]) -> TreeState | None:
    """Return the state of the git work tree at `path`; None if there is no git, or no commit.

    `built` are the files that a kernel is made from, which git may have been told to ignore.
    """
    if not (path / ".git").exists():
        return None
    # Another user's tree is allowed, too: git runs and writes nothing there.
    git = [*git_argv(path), "-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    git += ["-c", "core.quotePath=true", "--no-optional-locks"]
    filters = run([*git, *_FILTERS], RunOptions(env=_ENVIRONMENT), check=False).output.splitlines()
    # Not with -c: their names may have a "=".
    env = {**_ENVIRONMENT, "GIT_NO_LAZY_FETCH": "1", "GIT_CONFIG_COUNT": str(len(filters))}
    for number, name in enumerate(filters):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": ""}
    options = RunOptions(env=env)
    head = run([*git, "rev-parse", "HEAD"], options, check=False)
    status = run([*git, *_STATUS], options, check=False)
    index = run([*git, "ls-files", "-v"], options, check=False)
    if any(done.status != 0 for done in (head, status, index)):
        return None
    differing = map(_CHANGED_FILE.fullmatch, status.output.splitlines())
    known = [found for line in index.output.splitlines() if (found := _FILE.fullmatch(line))]
    changed = {_path(found["name"]) for found in differing if found}
    # git does not look at these files.
    changed |= {_path(found["name"]) for found in known if not found["looked_at"]}
    changed |= set(built).difference(_path(found["name"]) for found in known)
    return TreeState(head.output.strip(), tuple(map(shown, sorted(changed))))


def _path(printed: str) -> str:
    """Return a path that git may have quoted as in C."""
    if not printed.startswith('"'):
        return printed
    return os.fsdecode(printed[1:-1].encode().decode("unicode_escape").encode("latin-1"))
