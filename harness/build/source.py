# SPDX-License-Identifier: MIT
"""Kernel sources: Debian's package, a directory, a tar archive or a git commit.

The result is always a pristine tree in the cache, keyed by its content. Nothing writes to that
tree afterwards, and nothing ever writes to what `--source` names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from backports import tarfile

from harness.build import debian, git_source
from harness.build.git_source import OTHER_SOURCE
from harness.core import typed_json
from harness.core.cache import KEY_LENGTH, file_sha256
from harness.core.environment import environment_of
from harness.core.errors import CommandError, DownloadError, SourceError, UsageError
from harness.core.process import RunOptions, end_group, require, run
from harness.targets.model import DebianSource, Target
from harness.ui.progress import Phase
from harness.ui.workspace import Workspace

_MAKE_VARIABLE = re.compile(
    r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)[ \t]*$", re.MULTILINE
)
_DECOMPRESSORS = (
    (b"\xfd7zXZ\x00", ("xz", "-dc", "-T0")),
    (b"\x1f\x8b", ("gzip", "-dc")),
    (b"BZh", ("bzip2", "-dc")),
    (b"\x28\xb5\x2f\xfd", ("zstd", "-dcq")),
)
# A file that was changed less than this before it is looked at may change again without a sign
# in its times (their granularity is a few milliseconds).
_SETTLED_NS = 2_000_000_000
_MIB = 1 << 20
# How many changed files a message names.
_NAMED = 5
# How many files one command copies. A name is up to 4 KiB, a command line 2 MiB.
_NAMES_AT_ONCE = 400


@dataclass(frozen=True)
class KernelSource:
    """A pristine kernel tree. `tree` is never written to; `origin` is for people.

    `commit` is the tree's commit in git, `changed` are the files that the user had changed or
    added since that commit, and `url` is where it was fetched from.
    """

    target: Target
    tree: Path
    key: str
    version: str
    origin: str = field(compare=False)
    commit: str | None = field(default=None, compare=False)
    changed: tuple[str, ...] = field(default=(), compare=False)
    url: str | None = field(default=None, compare=False)


def fetch(ws: Workspace, target: Target, source: str | None = None) -> KernelSource:
    """Return the pristine source of `target`: its own, or what `source` names.

    `source` is a directory, a tar archive (also compressed with xz, gzip, bzip2 or zstd), or a
    git URL with `@` and a full commit hash. Raises UsageError if it is none of these, and
    SourceError if it cannot be obtained, is damaged, or is not the target's kernel.
    """
    source = source or target.given_source
    with ws.reporter.phase("fetch kernel source") as phase:
        if source is None:
            own = target.source
            if isinstance(own, DebianSource):
                try:
                    return _from_debian(ws, target, own, phase)
                except SourceError as failed:
                    failed.hint = "; or ".join(filter(None, (failed.hint, OTHER_SOURCE)))
                    raise
            return _from_git(ws, target, own.url, git_source.commit_of(ws, own), phase)
        path = Path(source).expanduser()
        kind = _kind_of(path)
        if kind == "directory":
            return _from_directory(ws, target, path.resolve(), phase)
        if kind == "file":
            return _from_tarball(ws, target, path.resolve(), phase)
        return _from_git(ws, target, *git_source.parse_git_source(source), phase)


def _kind_of(path: Path) -> Literal["directory", "file", "none"]:
    """Return what `--source` names; "none" if it may be a URL."""
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise _unreadable(error) from error
    except (OSError, ValueError):
        # Missing, a link to itself, or longer than a name may be: no path in any case.
        return "none"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISREG(mode):
        return "file"
    raise UsageError(f"--source {path}: neither a folder nor a file", hint=OTHER_SOURCE)


@contextmanager
def _unreadable_named() -> Iterator[None]:
    """Turn the failure to read a file of the user into an error that names the file."""
    try:
        yield
    except (PermissionError, FileNotFoundError) as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> SourceError:
    """Return the error for a file that is unreadable or no longer there, with its name."""
    name = _shown(error.filename)
    if isinstance(error, PermissionError):
        hint = "run it as the user whose file it is, or let others read it"
        return SourceError(f"{name} cannot be read: {error.strerror}", hint=hint)
    hint = "is somebody at work there? try it again"
    return SourceError(f"{name} was gone before it was read", hint=hint)


def _shown(name: object) -> str:
    """Return a path for people, with unprintable characters escaped."""
    text = os.fsencode(str(name)).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def tree_version(tree: Path) -> str:
    """Return the version that the Makefile of a kernel tree states, such as `6.1.192`.

    Raises SourceError if there is no such Makefile.
    """
    makefile = tree / "Makefile"
    head = ""
    if makefile.is_file():
        with _unreadable_named(), makefile.open(errors="replace") as stream:
            # In every kernel, the four lines come first in the file.
            head = stream.read(4096)
    found: dict[str, str] = dict(_MAKE_VARIABLE.findall(head))
    if not {"VERSION", "PATCHLEVEL", "SUBLEVEL"} <= found.keys():
        raise SourceError(
            f"not a kernel tree: {tree} has no Makefile with a VERSION", hint=OTHER_SOURCE
        )
    numbers = [found["VERSION"], found["PATCHLEVEL"], found["SUBLEVEL"]]
    return ".".join(number for number in numbers if number) + found.get("EXTRAVERSION", "")


def check_version(version: str, target: Target, origin: str) -> None:
    """Raise SourceError unless `version` is one of the target's."""
    if not re.match(rf"{re.escape(target.version)}(?![0-9])", version):
        raise SourceError(
            f"{origin} is Linux {version}, but {target.name} needs {target.version}",
            hint="name the right one with --source, or another target with --kernel",
        )


# --- making a cache entry -------------------------------------------------


def _entry(
    ws: Workspace,
    target: Target,
    key: str,
    origin: str,
    phase: Phase,
    unpack: Callable[[Path], None],
) -> KernelSource:
    """Return the source entry `key`; `unpack(tree)` makes the tree if it is missing."""

    def make(folder: Path) -> None:
        phase.note("unpack")
        started = time.monotonic()
        tree = folder / "tree"
        unpack(tree)
        check_version(tree_version(tree), target, origin)
        _clean(ws, target, tree, origin)
        (folder / "origin.json").write_text(typed_json.to_text({"origin": origin}))
        ws.reporter.say(f"unpacked {origin} in {time.monotonic() - started:.1f} s")

    if ws.cache.path("sources", key).is_dir():
        phase.mark_cached()
    # Too large to be verified each time.
    tree = ws.cache.ensure("sources", key, make, seal=False) / "tree"
    version = tree_version(tree)
    check_version(version, target, origin)
    return KernelSource(target, tree, key, version, origin)


def _clean(ws: Workspace, target: Target, tree: Path, origin: str) -> None:
    """Remove from our copy what an in-tree build left.

    `make O=` would refuse to work, or take it for files of the build folder.
    """
    names = (".config", "include/config", "include/generated")
    leftovers = [tree / name for name in (*names, f"arch/{target.arch}/include/generated")]
    if not any(path.exists() for path in leftovers):
        return
    ws.reporter.say(f"{origin} has been built in: its copy is cleaned with `make mrproper`")
    run(
        ["make", "-s", "-C", tree, f"ARCH={target.arch}", "mrproper"],
        log=ws.logs / "mrproper.log",
        # An old kernel's makefiles may fail under a new make; the loop below then does the work.
        check=False,
        what="make mrproper",
    )
    for path in leftovers:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a scratch folder on the same disk as `path`, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=path.parent) as name:
        yield Path(name)


# --- Debian ----------------------------------------------------------------


def _from_debian(ws: Workspace, target: Target, source: DebianSource, phase: Phase) -> KernelSource:
    known = debian.known(ws, source.package, source.suite)
    if known is not None:
        try:
            return _unpacked(ws, target, known.package, phase)
        except DownloadError:
            # The answer may be old, and an archive keeps only the newest versions.
            ws.reporter.say(f"{known.package.file_name} cannot be had; Debian is asked again")
    phase.note(f"ask Debian for {source.package}")
    return _unpacked(ws, target, debian.ask(ws, source.package, source.suite), phase)


def _unpacked(ws: Workspace, target: Target, package: debian.Package, phase: Phase) -> KernelSource:
    """Return the source in one of Debian's packages."""
    origin = f"Debian's {package.name} {package.version}"

    def unpack(tree: Path) -> None:
        deb = _download(ws, package, phase)
        phase.note("unpack")
        with _beside(tree) as scratch:
            run(["dpkg-deb", "-x", deb, scratch], error=SourceError)
            archives = sorted((scratch / "usr" / "src").glob("linux-source-*.tar.*"))
            if len(archives) != 1:
                raise SourceError(f"{deb.name} holds {len(archives)} kernel archives, not one")
            # Its hash is verified, so it needs no filter; tar is four times as fast as tarfile.
            tree.mkdir()
            words = ["tar", "-x", "--use-compress-program=xz -T0", "--strip-components=1"]
            run([*words, "-C", tree, "-f", archives[0]], error=SourceError, what="tar")

    return _entry(ws, target, package.key, origin, phase, unpack)


def _download(ws: Workspace, package: debian.Package, phase: Phase) -> Path:
    """Return the package's file, checked by its hash; a damaged one is downloaded again."""
    deb = ws.cache.path("downloads", package.key) / package.file_name
    if deb.is_file() and file_sha256(deb) != package.sha256:
        ws.reporter.say(f"{deb} is damaged ({deb.stat().st_size} bytes); it is fetched again")
        with ws.cache.lock(f"downloads-{package.key}"):
            shutil.rmtree(deb.parent, ignore_errors=True)

    def make(folder: Path) -> None:
        phase.note(f"download {package.file_name}")
        debian.download(ws, package, folder)

    # Without a seal, as each run compares it with the hash in the archive's lists.
    ws.cache.ensure("downloads", package.key, make, seal=False)
    return deb


# --- a tar archive ---------------------------------------------------------


def _from_tarball(ws: Workspace, target: Target, path: Path, phase: Phase) -> KernelSource:
    phase.note(f"hash {path.name}")
    with _unreadable_named():
        key = f"tarball-{file_sha256(path)[:KEY_LENGTH]}"
    return _entry(ws, target, key, str(path), phase, lambda tree: _unpack_tar(path, tree))


def _unpack_tar(archive: Path, tree: Path) -> None:
    """Unpack a tar archive into `tree`, without the folder at its top if there is only that one.

    Members that would land outside are refused (tarfile's "data" filter).
    """
    with _beside(tree) as scratch:
        try:
            with _plain_stream(archive) as stream:
                with tarfile.open(fileobj=stream, mode="r|", bufsize=_MIB) as tar:
                    tar.extractall(scratch, filter="data")
                # Read on to the end, so that a decompressor can report an error.
                while stream.read(_MIB):
                    pass
        except tarfile.FilterError as error:
            raise SourceError(f"{archive} is refused: {_shown(error)}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            # For example two members of one name and different kinds, or a member below a
            # dangling link.
            raise SourceError(f"{archive} cannot be unpacked: {_shown(error)}") from error
        except (tarfile.TarError, EOFError, CommandError) as error:
            raise SourceError(
                f"{archive} is truncated or not a tar archive ({error})", hint="fetch it again"
            ) from error
        tops = list(scratch.iterdir())
        top = tops[0] if len(tops) == 1 and tops[0].is_dir() else scratch
        tree_version(top)
        tree.mkdir()
        for path in top.iterdir():
            path.rename(tree / path.name)


@contextmanager
def _plain_stream(archive: Path) -> Iterator[IO[bytes]]:
    """Yield the archive's content without its compression, whichever it is."""
    # Without a buffer, so that a decompressor, too, reads from the start again.
    with archive.open("rb", buffering=0) as stream, tempfile.TemporaryFile() as said:
        magic = stream.read(6)
        stream.seek(0)
        argv = next((tool for head, tool in _DECOMPRESSORS if magic.startswith(head)), None)
        if argv is None:
            yield stream
            return
        require(argv[0])
        process = subprocess.Popen(
            argv,
            env=environment_of(argv[0]),
            stdin=stream,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            yield process.stdout
            if process.wait() != 0:
                said.seek(0)
                words = said.read().decode(errors="replace").strip()
                raise CommandError(words or f"{argv[0]} failed")
        finally:
            process.stdout.close()
            if process.poll() is None:
                end_group(process)


# --- a directory -----------------------------------------------------------


def _from_directory(ws: Workspace, target: Target, path: Path, phase: Phase) -> KernelSource:
    # Check this before 80,000 files are read.
    check_version(tree_version(path), target, str(path))
    phase.note(f"read {path}")
    with _unreadable_named():
        found = list(walk(path))
    files = [file for file in found if file.is_source]
    key = f"directory-{directory_digest(ws, path, files)}"
    if others := tuple(_shown(file.name) for file in found if not file.is_source):
        what = f"{len(others)} pipe(s), socket(s) or device(s)"
        ws.reporter.say(f"{path}: {what} left out: {_first(others)}")
    source = _entry(ws, target, key, str(path), phase, lambda tree: _copy(path, files, tree))
    state = git_source.state_of(path)
    if state is None:
        return source
    if state.changed:
        # The changed tree is what gets built, and the commit alone does not reproduce it.
        count, names = len(state.changed), _first(state.changed)
        ws.reporter.say(f"{path} is at {state.commit[:12]} with {count} changed file(s): {names}")
    return replace(source, commit=state.commit, changed=state.changed)


def _first(names: tuple[str, ...]) -> str:
    """Return the first of `names`, with a sign that there are more."""
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _copy(path: Path, files: list[FoundFile], tree: Path) -> None:
    """Copy the files of a directory to a new one."""
    tree.mkdir()
    names = [file.name for file in files]
    copy = ["cp", "-a", "--reflink=auto", "--parents", "-t", str(tree), "--"]
    for first in range(0, len(names), _NAMES_AT_ONCE):
        some = names[first : first + _NAMES_AT_ONCE]
        run([*copy, *some], RunOptions(cwd=path), error=SourceError, what=f"copy of {path}")


def directory_digest(ws: Workspace, path: Path, files: list[FoundFile]) -> str:
    """Return a key over names, kinds, modes and contents of a directory's files.

    Reading every file takes seconds. So the key is stored together with the files' sizes, times
    (also ctime, which no program can set) and inodes, as in git's index, and used again as long
    as these are the same.
    """
    began = time.time_ns()
    state = hashlib.sha256()
    newest = 0
    for found in files:
        status = found.status
        times = status.st_mtime_ns, status.st_ctime_ns
        fields = (status.st_mode, status.st_size, *times, status.st_ino)
        state.update(f"{found.name}\0{fields}\0".encode(errors="surrogateescape"))
        newest = max(newest, status.st_ctime_ns)
    signature = state.hexdigest()
    about = ("directories", os.fsencode(path))
    known = ws.cache.noted(_Digested, *about)
    if known is not None and known.signature == signature:
        return known.digest
    with _unreadable_named():
        result = _content_digest(path, files)
    if newest < began - _SETTLED_NS:
        ws.cache.note(_Digested(signature, result), *about)
    return result


@dataclass(frozen=True)
class _Digested:
    """The digest of a directory, and the signature by which it is known to be the same."""

    signature: str
    digest: str


@dataclass(frozen=True)
class FoundFile:
    """A file, link, pipe or device below a directory: its name there, and its status."""

    name: str
    status: os.stat_result

    @property
    def is_source(self) -> bool:
        """Whether it is a file or a link: reading a pipe, or a device, may never end."""
        return stat.S_ISREG(self.status.st_mode) or stat.S_ISLNK(self.status.st_mode)


def walk(root: Path, folder: str = "") -> Iterator[FoundFile]:
    """Yield everything below `root` but folders and `.git`, sorted by name. Follows no link.

    With `folder`, a path below `root` that ends with a slash, only what is in that folder.
    """
    with os.scandir(root / folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{folder}{entry.name}"
        if name == ".git":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(root, f"{name}/")
        else:
            yield FoundFile(name, entry.stat(follow_symlinks=False))


def _content_digest(root: Path, files: list[FoundFile]) -> str:
    state = hashlib.sha256()
    for file in files:
        path = root / file.name
        mode = path.lstat().st_mode
        if path.is_symlink():
            kind, data = "link", os.fsencode(path.readlink())
        else:
            kind, data = ("program" if mode & 0o100 else "file"), path.read_bytes()
        head = f"{file.name}\0{kind}\0{len(data)}\0".encode(errors="surrogateescape")
        state.update(head + data)
    return state.hexdigest()[:KEY_LENGTH]


# --- a git commit ----------------------------------------------------------


def _from_git(ws: Workspace, target: Target, url: str, commit: str, phase: Phase) -> KernelSource:
    origin = f"{url} at {commit[:12]}"

    def unpack(tree: Path) -> None:
        phase.note(f"fetch {commit[:12]}")
        git_source.checkout(ws, url, commit, tree, phase.note)

    found = _entry(ws, target, f"git-{commit[:KEY_LENGTH]}", origin, phase, unpack)
    return replace(found, commit=commit, url=url)
