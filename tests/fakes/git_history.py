# SPDX-License-Identifier: MIT
"""Real git repositories with a history in which each commit has a number."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

NUMBER = "number"
_MAKEFILE = "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = {}\nEXTRAVERSION =\n"


def git(folder: Path, *words: str, stdin: bytes = b"") -> str:
    """Run git, without the settings of whoever runs the tests."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nowhere",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "An Author",
        "GIT_AUTHOR_EMAIL": "author@invalid",
        "GIT_COMMITTER_NAME": "A Committer",
        "GIT_COMMITTER_EMAIL": "committer@invalid",
    }
    words = ("git", "-c", "safe.directory=*", "-C", str(folder), *words)
    done = subprocess.run(words, input=stdin, env=env, capture_output=True, check=True)
    return done.stdout.decode().strip()


def history(
    folder: Path,
    parents: Mapping[int, Sequence[int]],
    *,
    bare: bool = False,
    subject: Callable[[int], str] = "commit {}".format,
) -> dict[int, str]:
    """Make a repository with these commits, in which the file `number` has the commit's number.

    Return the hash of each. The last one is the branch main, checked out unless `bare`.
    """
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", *(["--bare"] if bare else []))
    stream = b"".join(_commit(number, of, subject(number)) for number, of in parents.items())
    stream += b"reset refs/heads/main\nfrom :%d\n" % max(parents)
    marks = folder.parent / f"{folder.name}.marks"
    git(folder, "fast-import", "--quiet", f"--export-marks={marks}", stdin=stream)
    if not bare:
        git(folder, "reset", "-q", "--hard")
    lines = (line.split() for line in marks.read_text().splitlines())
    return {int(mark.removeprefix(":")): name for mark, name in lines}


def line_of(count: int) -> dict[int, Sequence[int]]:
    """Return the parents of commits 1 to `count`, one after the other."""
    return {number: [number - 1] if number > 1 else [] for number in range(1, count + 1)}


def _commit(number: int, parents: Sequence[int], subject: str) -> bytes:
    message = subject.encode()
    lines = [
        b"commit refs/heads/made",
        b"mark :%d" % number,
        b"author An Author <author@invalid> %d +0000" % (1_700_000_000 + number),
        b"committer A Committer <committer@invalid> %d +0000" % (1_700_000_000 + number),
        b"data %d\n%s" % (len(message), message),
    ]
    lines += [b"%s :%d" % (b"merge" if at else b"from", one) for at, one in enumerate(parents)]
    for name, text in ((NUMBER, str(number)), ("Makefile", _MAKEFILE.format(number))):
        lines += [b"M 644 inline %s" % name.encode(), b"data %d\n%s" % (len(text), text.encode())]
    return b"\n".join(lines) + b"\n\n"


def digest_of(folder: Path) -> str:
    """Return a digest over all that is below a folder: names, kinds, contents, rights, links."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.fsencode(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        facts = (str(path), status.st_mode, status.st_mtime_ns, content)
        state.update(repr(facts).encode())
    return state.hexdigest()
