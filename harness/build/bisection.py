# SPDX-License-Identifier: MIT
"""`git bisect` in a clone of somebody's repository, in which nothing is written.

The clone borrows the repository's objects (`objects/info/alternates`), so it takes the space of
one work tree. It has no branches, tags, settings or hooks of the repository. It is made by hand,
not by `git clone`: that starts `git upload-pack` in the repository, which refuses one of another
user.
"""

from __future__ import annotations

import enum
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.build.git_source import git_argv
from harness.core.cache import digest, disk_full_named, remove_partial
from harness.core.errors import SourceError, UsageError
from harness.core.lifetime import stopped_by
from harness.core.process import Completed, RunOptions, run
from harness.core.text import last_lines, visible
from harness.ui.workspace import Workspace

SHORT = 12
# The kind of the cache's entries that clones are.
_CLONES = "bisects"
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    # In a partial clone, git would fetch what is missing, and so write to the repository.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
}
_SETTINGS = (
    # Git runs nothing in another user's repository, and the clone may be in another user's cache.
    *("safe.directory=*", "core.fsmonitor=false", "submodule.recurse=false", "gc.auto=0"),
    *("maintenance.auto=false", "log.showSignature=false"),
)
# What `git bisect run` starts for each commit: it asks, by a line on the socket that is its
# standard input, for the status to exit with. At the end of that input, because this harness died
# or gives up, it exits with a status that ends the bisect.
_STEP = 'echo >&0; read -r status && exit "$status"; exit 255'
_FIRST_BAD = re.compile(r"^# first bad commit: \[([0-9a-f]{40,64})\]", re.MULTILINE)
_SUSPECT = re.compile(r"^# possible first bad commit: \[([0-9a-f]{40,64})\]", re.MULTILINE)
_ADVICE = re.compile(r"^(?:hint|warning): .*\n?", re.MULTILINE)


class Verdict(enum.Enum):
    """The verdict on a commit. A commit is skipped if nothing is known about it."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"

    @property
    def status(self) -> int:
        """The exit status that means this to `git bisect run`."""
        return {Verdict.GOOD: 0, Verdict.BAD: 1, Verdict.SKIPPED: 125}[self]


@dataclass(frozen=True)
class Commit:
    """A commit. Its texts are printable; `date` is the author's, in the form of ISO 8601."""

    hash: str
    subject: str
    author: str = ""
    date: str = ""

    @property
    def title(self) -> str:
        """The commit for people: the beginning of its hash, and its subject."""
        return f"{self.hash[:SHORT]} {self.subject}".rstrip()


@dataclass(frozen=True)
class Bisected:
    """What `git bisect` found: the first bad commit, or all that may be it.

    There are several if those between the last good and the first bad one were skipped.
    """

    suspects: tuple[str, ...]

    @property
    def first_bad(self) -> str | None:
        """The hash of the first bad commit; None if it may be one of several."""
        return self.suspects[0] if len(self.suspects) == 1 else None


def parse_log(log: str) -> Bisected | None:
    """Return what a log of `git bisect log` says was found; None if nothing was yet."""
    if found := _FIRST_BAD.findall(log):
        return Bisected((found[-1],))
    suspects = tuple(_SUSPECT.findall(log))
    return Bisected(suspects) if suspects else None


def steps_left(count: int) -> int:
    """Return about how many steps are left after the present one, as git estimates it.

    `count` is how many commits may be the first bad one.
    """
    if count < 3:
        return 0
    whole = count.bit_length() - 1
    power = 1 << whole
    return whole if power < 3 * (count - power) else whole - 1


# --- somebody's repository ---------------------------------------------------


@dataclass(frozen=True)
class Repository:
    """A git repository on this machine, bare or not; it is only read.

    `objects` is its folder of objects, `shallow` the file that says where its history is cut off,
    and `form` the name of its hash function. `name` is its path, or where it was fetched from.
    """

    path: Path
    name: str
    objects: Path
    shallow: Path
    form: str

    @classmethod
    def at(cls, path: Path, name: str = "") -> Repository:
        """Return the repository at `path`; UsageError if that is none, or a folder inside one."""
        path = path.resolve()
        words = ["rev-parse", "--show-prefix", "--show-object-format"]
        words += ["--path-format=absolute", "--git-path", "objects", "--git-path", "shallow"]
        told = _read(path, *words, check=False)
        lines = told.output.splitlines()
        if told.status != 0 or len(lines) != 4:
            raise UsageError(
                f"{visible(str(path))} is no git repository: {_reason(told)}",
                hint="--source needs a clone of the kernel, or its URL",
            )
        prefix, form, objects, shallow = lines
        if prefix:
            raise UsageError(
                f"{visible(str(path))} is a folder inside a git repository, not its top",
                hint=f"--source {path.parents[len(Path(prefix).parts) - 1]}",
            )
        return cls(path, name or str(path), Path(objects), Path(shallow), form)

    def hash_of(self, name: str) -> str:
        """Return the hash of what `name` (a hash, a tag, a branch, HEAD~3) names in git.

        Raises UsageError if there is no such thing.
        """
        told = _read(self.path, *_parse(name), check=False)
        if told.status != 0:
            raise UsageError(
                f"{visible(self.name)} has no commit {visible(name)}",
                hint="name a commit, a tag or a branch of it",
            )
        return told.output.strip()


def _parse(name: str) -> tuple[str, ...]:
    return ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def _read(path: Path, *words: str, check: bool = True) -> Completed:
    """Run a git command that only reads the repository at `path`."""
    return _git(path, "-c", "protocol.allow=never", *words, check=check)


def _git(path: Path, *words: str, check: bool = True, what: str = "") -> Completed:
    return run(
        _argv(path, *words),
        RunOptions(env=_ENVIRONMENT),
        check=check,
        error=SourceError,
        what=what or f"git {words[0]}",
    )


def _argv(path: Path, *words: str) -> list[str]:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    return [*git_argv(path), *settings, *words]


def _reason(told: Completed) -> str:
    """Return what git said last, on one line."""
    said = [line.strip() for line in told.output.splitlines() if line.strip()]
    return visible(said[-1].removeprefix("fatal: ")) if said else f"status {told.status}"


# --- our clone ---------------------------------------------------------------


@dataclass(frozen=True)
class Clone:
    """A clone of ours, in which `git bisect` runs; `log` gets what git prints."""

    folder: Path
    log: Path
    _commits: dict[str, Commit] = field(default_factory=dict, repr=False, compare=False)

    def check_out(self, commit: str) -> None:
        """Check a commit out. Raises SourceError if an object is missing."""
        self._do("checkout", "-q", "--force", "--detach", commit)

    def head(self) -> Commit:
        """Return the commit that is checked out."""
        return self.commit(self._do("rev-parse", "HEAD").output.strip())

    def commit(self, name: str) -> Commit:
        """Return a commit, by its hash."""
        if name not in self._commits:
            form = "--format=%an <%ae>%x00%aI%x00%s"
            told = self._do("rev-list", "--max-count=1", form, "--end-of-options", name)
            # The first line has the hash only.
            author, date, subject = told.output.rstrip("\n").partition("\n")[2].split("\0")
            self._commits[name] = Commit(name, visible(subject), visible(author), visible(date))
        return self._commits[name]

    def start(self, bad: str, good: str) -> None:
        """Begin a bisect between two commits, and check the first one to test out.

        Raises UsageError with git's reason if it makes no sense between these two.
        """
        told = self._do("bisect", "start", bad, good, check=False)
        if told.status != 0 and self.found() is None:
            said = _ADVICE.sub("", told.output)
            raise UsageError(
                "git cannot bisect between these two commits",
                tail=visible_lines(said),
                hint="--good has to be the older one: an ancestor of --bad",
            )

    def left(self) -> int:
        """Return how many commits may still be the first bad one."""
        words = ("--count", "refs/bisect/bad", "--not", "--glob=refs/bisect/good-*")
        told = self._do("rev-list", *words).output.split()
        return int(told[-1]) if told and told[-1].isdigit() else 0

    def found(self) -> Bisected | None:
        """Return what was found; None if nothing was yet."""
        return parse_log(self.log_text())

    def log_text(self) -> str:
        """Return the output of `git bisect log`; empty if there was no bisect."""
        told = self._do("bisect", "log", check=False)
        return told.output if told.status == 0 else ""

    def run(self, judge: Callable[[], Verdict]) -> Bisected:
        """Have `git bisect run` find the first bad commit; `judge` says how the checked out one is.

        What `judge` raises ends the bisect and is raised here, when git has ended. Raises
        SourceError with git's reason if git does not come to an end.
        """
        ours, theirs = socket.socketpair()
        stop = threading.Event()
        ended: list[Completed | BaseException] = []

        def bisect() -> None:
            options = RunOptions(env=_ENVIRONMENT, stdin=theirs.fileno())
            words = _argv(self.folder, "bisect", "run", "/bin/sh", "-c", _STEP)
            try:
                with stopped_by(stop):
                    done = run(words, options, log=self.log, check=False, what="git bisect run")
                ended.append(done)
            except BaseException as error:
                # It is raised again below.
                ended.append(error)
            finally:
                theirs.close()

        # A daemon thread, so that an impatient user can exit without it.
        thread = threading.Thread(target=bisect, name="git-bisect", daemon=True)
        try:
            with ours:
                thread.start()
                # It ends with git and all its children, which have the other end.
                while _is_asked(ours):
                    answer = f"{judge().status}\n".encode()
                    # Git may have been ended by somebody else meanwhile.
                    with suppress(BrokenPipeError, ConnectionResetError):
                        ours.sendall(answer)
        except BaseException:
            # The step that waits for an answer gets none, and git ends by itself; if it is
            # between two steps, it is ended.
            stop.set()
            raise
        finally:
            if thread.ident is not None:
                thread.join()
            else:
                theirs.close()
        (end,) = ended
        if isinstance(end, BaseException):
            raise end
        found = self.found()
        if found is None:
            raise SourceError(
                "git bisect came to no end", log=self.log, tail=visible_lines(end.output)
            )
        return found

    def _do(self, *words: str, check: bool = True) -> Completed:
        what = f"git {words[0]} in the clone"
        return run(
            _argv(self.folder, *words),
            RunOptions(env=_ENVIRONMENT),
            check=check,
            error=SourceError,
            what=what,
        )


def _is_asked(ours: socket.socket) -> bool:
    """Wait, and return whether a step asks for a status; if not, nobody has the other end."""
    try:
        return bool(ours.recv(1))
    except ConnectionResetError:
        # There, an answer was not read.
        return False


def visible_lines(text: str) -> str:
    """Return the last lines of what git said, printable: it quotes commits."""
    return last_lines("\n".join(visible(line) for line in text.splitlines() if line.strip()))


@contextmanager
def cloned(ws: Workspace, repository: Repository) -> Iterator[Clone]:
    """Yield a clone of `repository` in which nothing is checked out; remove it afterwards.

    For each repository there is one at a time, in the same place, so that a kernel's work tree of
    an earlier bisect is used again. If a bisect of the same repository runs, this waits for it.
    """
    key, folder = _key_of(repository), folder_of(ws, repository)
    log = ws.logs / f"bisect-{key}.log"
    with ws.cache.lock(f"{_CLONES}-{key}"), disk_full_named(ws.cache.root):
        log.unlink(missing_ok=True)
        remove_partial(folder)
        folder.mkdir(parents=True)
        ws.cache.grew()
        try:
            _git(folder, "init", "-q", f"--object-format={repository.form}", "--template=")
            info = folder / ".git" / "objects" / "info"
            info.mkdir(exist_ok=True)
            (info / "alternates").write_bytes(_alternate(repository.objects))
            if repository.shallow.is_file():
                (folder / ".git" / "shallow").write_bytes(repository.shallow.read_bytes())
            yield Clone(folder, log)
        finally:
            remove_partial(folder)


def folder_of(ws: Workspace, repository: Repository) -> Path:
    """Return where a repository's clone is while there is one.

    It is called as a half-made entry of the cache: if this process is killed, the next run that
    makes room removes it.
    """
    return ws.cache.root / _CLONES / f".{_key_of(repository)}.partial"


def _key_of(repository: Repository) -> str:
    return digest(os.fsencode(repository.name))


def _alternate(objects: Path) -> bytes:
    """Return the line of an `alternates` file for a folder, quoted as git reads it."""
    path = os.fsencode(objects).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"' + path.replace(b"\n", b"\\n") + b'"\n'
