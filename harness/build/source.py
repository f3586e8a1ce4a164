# SPDX-License-Identifier: MIT
"""Kernel sources: Debian's package, a directory, a tar archive or a git commit.

The result is a pristine tree, keyed by its content. A directory is left where it is, and listed;
anything else is unpacked into the cache. Nothing writes to either afterwards.
"""

from __future__ import annotations

import errno
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Literal

from backports import tarfile

from harness.build import debian, git_source
from harness.build.built_in import built_in
from harness.build.git_source import OTHER_SOURCE
from harness.build.listing import (
    Listing,
    list_folder,
    shown,
    unreadable,
    unreadable_named,
    walk_sources,
)
from harness.core import typed_json
from harness.core.cache import KEY_LENGTH, file_sha256
from harness.core.environment import environment_of
from harness.core.errors import CommandError, DownloadError, SourceError, UsageError
from harness.core.niceness import keep_nice
from harness.core.process import end_group, require, run
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
_MIB = 1 << 20
_LEADS_OUT = "link(s) that lead out of it"
# How many changed files a message names.
_NAMED = 5


@dataclass(frozen=True)
class KernelSource:
    """A pristine kernel tree. `tree` is never written to; `origin` is for people.

    If it is a user's directory, which may change at any time, `listing` says what was in it.
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
    listing: Listing | None = field(default=None, compare=False)


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
        raise unreadable(error) from error
    except (OSError, ValueError):
        # Missing, a link to itself, or longer than a name may be: no path in any case.
        return "none"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISREG(mode):
        return "file"
    raise UsageError(f"--source {path}: neither a folder nor a file", hint=OTHER_SOURCE)


def tree_version(tree: Path) -> str:
    """Return the version that the Makefile of a kernel tree states, such as `6.1.192`.

    Raises SourceError if there is no such Makefile.
    """
    makefile = tree / "Makefile"
    head = ""
    if makefile.is_file():
        with unreadable_named(), makefile.open(errors="replace") as stream:
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
    with unreadable_named():
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
            raise SourceError(f"{archive} is refused: {shown(error)}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            # For example two members of one name and different kinds, or a member below a
            # dangling link.
            raise SourceError(f"{archive} cannot be unpacked: {shown(error)}") from error
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
        keep_nice(process.pid)
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
    version = tree_version(path)
    check_version(version, target, str(path))
    phase.note(f"read {path}")
    found = walk_sources(path)
    built_of = partial(built_in, ws, target, path)
    listing, read = list_folder(ws, path, found, built_of(found))
    listing = replace(listing, built_of=built_of)
    if not read:
        phase.mark_cached()
    for what, is_link in (("pipe(s), socket(s) or device(s)", False), (_LEADS_OUT, True)):
        lost = [file for file in found if not file.is_source and file.leads_out == is_link]
        if lost:
            names = _first(tuple(shown(file.name) for file in lost))
            ws.reporter.say(f"{path}: {len(lost)} {what} left out: {names}")
    key = f"directory-{listing.key}"
    source = KernelSource(target, path, key, version, str(path), listing=listing)
    state = git_source.state_of(path, listing.files)
    if state is None:
        return source
    # What git says has to be about the files that were listed.
    listing.check_unmoved()
    if state.changed:
        # The changed tree is what gets built, and the commit alone does not reproduce it.
        count, names = len(state.changed), _first(state.changed)
        ws.reporter.say(f"{path} is at {state.commit[:12]} with {count} changed file(s): {names}")
    return replace(source, commit=state.commit, changed=state.changed)


def _first(names: tuple[str, ...]) -> str:
    """Return the first of `names`, with a sign that there are more."""
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


# --- a git commit ----------------------------------------------------------


def _from_git(ws: Workspace, target: Target, url: str, commit: str, phase: Phase) -> KernelSource:
    origin = f"{url} at {commit[:12]}"

    def unpack(tree: Path) -> None:
        phase.note(f"fetch {commit[:12]}")
        git_source.checkout(ws, url, commit, tree, phase.note)

    found = _entry(ws, target, f"git-{commit[:KEY_LENGTH]}", origin, phase, unpack)
    return replace(found, commit=commit, url=url)
