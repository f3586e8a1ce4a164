# SPDX-License-Identifier: MIT
"""The guest's file system: an initramfs that behaves like a small Android.

Debian's packages for the target's architecture are only downloaded and unpacked (mmdebstrap's
variant "extract"): nothing in them runs on the host.

There are two cache entries. One has the programs from the packages. The packages are resolved
once and stay the same until the cache is cleaned, so a run without network works, and a guest
does not change during a series of measurements. The other one is the initramfs, which follows
the files in harness/build/guest/.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from harness.build import debian
from harness.core.cache import digest, tree_digest
from harness.core.errors import BuildError, SourceError
from harness.core.paths import GUEST
from harness.core.process import RunOptions, require, run
from harness.targets.model import DEVICE_FOLDER, Target
from harness.ui.workspace import Workspace

Got = TypeVar("Got")

# adbd is the device side of adb; toybox and mksh are Android's own tools and shell; busybox has
# what Debian's toybox lacks.
PACKAGES = ("adbd", "busybox-static", "mksh", "toybox")
# What is kept of the packages, as tar patterns: programs, and the shared
# libraries without the character set converters.
KEPT = (
    "./usr/bin/busybox",
    "./usr/bin/mksh",
    "./usr/bin/toybox",
    # mksh's static builds, each with another C library.
    "./usr/lib/*/bin/mksh",
    "./usr/lib/android-sdk/platform-tools/adbd",
    "./usr/lib/*/*.so*",
    "./usr/lib/ld-linux*",
)
DROPPED = ("*/gconv/*", "*/libc_malloc_debug.so*", "*/libmemusage.so*", "*/libpcprofile.so*")
# The order of the empty folders does not matter: cpio gets a sorted list.
FOLDERS = ("data", "dev", "etc", "proc", "root", "sys", "system/bin", "tmp")
LINKS = (("bin", "system/bin"), ("sbin", "system/bin"), ("lib", "usr/lib"))
PROGRAMS = ("busybox", "mksh", "toybox")
# The static mksh: it starts in a quarter of the other one's time. Of its builds the one with
# dietlibc, as klibc's needs Linux 5.1, and musl's relocates itself at each start. It is not the
# guest's `sh`: by that name it would be another shell (posix mode), and it has no command history.
STATIC_SHELL = "mksh-static"
_STATIC_SHELL_LIBRARY = "diet"
APP_USERS = 100
FIRST_APP_UID = 10000
# The guest's archive in its cache entry.
ARCHIVE = "initramfs.cpio.gz"
SHELL = "/system/bin/sh"
_SYSTEM_USERS = (("root", 0, "/"), ("system", 1000, "/"), ("shell", 2000, DEVICE_FOLDER))


@dataclass(frozen=True)
class Rootfs:
    """An initramfs (gzipped cpio) and the packages in it, as `name=version`.

    `tools` are static programs from it, for a device that boots a system of its own.
    """

    initramfs: Path
    key: str
    packages: tuple[str, ...]
    tools: tuple[Path, ...]


def build(ws: Workspace, target: Target) -> Rootfs:
    """Build the guest of `target`.

    Raises SourceError if the packages cannot be obtained, BuildError if su does not compile, and
    ToolMissingError.
    """
    with ws.reporter.phase("build guest") as phase:
        packages = _packages_key(target)
        programs = ws.cache.ensure(
            "guest-packages", packages, lambda folder: _fetch(ws, target, folder)
        )
        listing = (programs / "packages").read_text()
        key = digest(
            target.name,
            target.programs_cross_compile,
            listing,
            tree_digest(GUEST),
            Path(__file__).read_bytes(),
        )
        if ws.cache.has("rootfs", key):
            phase.mark_cached()
        entry = ws.cache.ensure("rootfs", key, lambda folder: _assemble(target, programs, folder))
    tools = (entry / "su", programs / "root/usr/bin/busybox")
    return Rootfs(entry / ARCHIVE, key, tuple(listing.split()), tools)


def users() -> list[tuple[str, int, str]]:
    """Return name, uid and home of each user: Android's u0_aN is 10000+N."""
    apps = ((f"u0_a{n}", FIRST_APP_UID + n, DEVICE_FOLDER) for n in range(APP_USERS))
    return [*_SYSTEM_USERS, *apps]


def passwd_lines() -> list[str]:
    """Return the lines of the guest's /etc/passwd."""
    return [f"{name}:x:{uid}:{uid}:{name}:{home}:{SHELL}" for name, uid, home in users()]


def group_lines() -> list[str]:
    """Return the lines of /etc/group: a group per user with the same number, and the terminals'."""
    return [*(f"{name}:x:{uid}:" for name, uid, _ in users()), "tty:x:5:"]


def package_name(archive: str) -> str:
    """Return `name=version` from a package's file name in apt's cache."""
    name, version, _ = archive.removesuffix(".deb").split("_")
    return f"{name}={unquote(version)}"


def has_packages(ws: Workspace, target: Target) -> bool:
    """Return whether the cache holds the guest's packages, so that a build needs no network."""
    return ws.cache.has("guest-packages", _packages_key(target))


def find_packages(ws: Workspace, target: Target) -> tuple[str, debian.Package]:
    """Return the first suite that offers the guest's packages now, and the first of the packages.

    Raises SourceError if no suite does.
    """
    return _first_suite(
        target,
        lambda suite: debian.ask(ws, PACKAGES[0], suite, target.guest_arch, security=False),
    )


def _first_suite(target: Target, get: Callable[[str], Got]) -> tuple[str, Got]:
    """Return the first of the target's suites for which `get` succeeds, with its result.

    Raises the first suite's SourceError if it succeeds for none.
    """
    best, *others = target.guest_suites
    try:
        return best, get(best)
    except SourceError:
        for suite in others:
            with suppress(SourceError):
                return suite, get(suite)
        raise


def _packages_key(target: Target) -> str:
    return digest(*target.guest_suites, target.guest_arch, *PACKAGES, *KEPT, *DROPPED)


def _fetch(ws: Workspace, target: Target, folder: Path) -> None:
    """Download the packages and unpack them into `folder`/root; write their list beside it."""
    require("mmdebstrap", "apt-get", "tar")
    log = ws.logs / "guest-packages.log"
    best = target.guest_suites[0]
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-") as scratch:
        archive = Path(scratch) / "root.tar"

        def download(suite: str) -> str:
            # An error points to the first suite's log.
            its_log = log if suite == best else log.with_suffix(f".{suite}.log")
            return _download(target, suite, archive, its_log)

        taken, said = _first_suite(target, download)
        if taken != best:
            ws.reporter.say(f"the guest's packages are {taken}'s: {best}'s cannot be had now")
        (folder / "root").mkdir()
        run(
            [
                *("tar", "-x", "-f", archive, "-C", folder / "root"),
                *("--no-same-owner", "--wildcards"),
                *(f"--exclude={pattern}" for pattern in DROPPED),
                *KEPT,
            ],
            log=log,
            what="unpack the guest's packages",
        )
    names = {package_name(line) for line in said.splitlines() if line.endswith(".deb")}
    _write(folder / "packages", sorted(names))


def _download(target: Target, suite: str, archive: Path, log: Path) -> str:
    """Make `archive` from the guest's packages; return the list of their files."""
    mirror = debian.mirror()
    return debian.run_mmdebstrap(
        [
            *debian.mmdebstrap_argv(target.guest_arch, "extract", "tar"),
            f"--include={','.join(PACKAGES)}",
            '--extract-hook=ls "$1/var/cache/apt/archives"',
            *(suite, str(archive)),
            # Without a mirror, mmdebstrap uses Debian's own for a Debian suite.
            *([mirror] if mirror else []),
        ],
        f"apt could not get the guest's packages ({suite}, {target.guest_arch})",
        log,
        what="get the guest's packages",
    )


def _assemble(target: Target, programs: Path, folder: Path) -> None:
    """Make `folder`/initramfs.cpio.gz from the programs and harness/build/guest/."""
    require(f"{target.programs_cross_compile}gcc")
    stage = folder / "stage"
    shutil.copytree(programs / "root", stage, symlinks=True)
    for name in FOLDERS:
        (stage / name).mkdir(parents=True, exist_ok=True)
    for name, to in LINKS:
        (stage / name).symlink_to(to)
    _commands(stage)
    _compile_su(target, stage / "system/bin/su")
    shutil.copy(stage / "system/bin/su", folder / "su")
    _write(stage / "etc/passwd", passwd_lines())
    _write(stage / "etc/group", group_lines())
    shutil.copyfile(GUEST / "init", stage / "init")
    (stage / "init").chmod(0o755)
    pack(stage, folder / ARCHIVE)
    shutil.rmtree(stage)


def _commands(stage: Path) -> None:
    """Fill /system/bin: the programs, and a link to one of them per applet."""
    commands = stage / "system/bin"
    for name in PROGRAMS:
        (stage / "usr/bin" / name).rename(commands / name)
    (stage / "usr/bin").rmdir()
    shell = stage / "usr/lib" / _STATIC_SHELL_LIBRARY / "bin/mksh"
    if shell.exists():
        shell.rename(commands / STATIC_SHELL)
    for other in (stage / "usr/lib").glob("*/bin"):
        shutil.rmtree(other)
    (stage / "usr/lib/android-sdk/platform-tools/adbd").rename(commands / "adbd")
    shutil.rmtree(stage / "usr/lib/android-sdk")
    (commands / "sh").symlink_to("mksh")
    for program in ("toybox", "busybox"):
        for applet in (GUEST / f"{program}.applets").read_text().splitlines():
            if applet and not applet.startswith("#"):
                (commands / applet).symlink_to(program)


def _compile_su(target: Target, program: Path) -> None:
    run(
        [
            *(f"{target.programs_cross_compile}gcc", "-static", "-O2", "-s"),
            *("-Wall", "-Wextra", "-Werror", "-o", program, GUEST / "su.c"),
        ],
        error=BuildError,
        what="compile su",
    )


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def pack(stage: Path, archive: Path) -> None:
    """Write everything below `stage` into `archive` (gzipped cpio, newc).

    The same files give the same bytes: sorted, owned by root, dated 1970, readable for all
    users, and executable for all if executable at all. Raises BuildError, ToolMissingError.
    """
    require("cpio")
    paths = sorted(stage.rglob("*"))
    for path in paths:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        os.utime(path, (0, 0), follow_symlinks=False)
    names, plain = archive.with_name("names"), archive.with_name("plain.cpio")
    names.write_text("".join(f"{path.relative_to(stage)}\n" for path in paths))
    run(
        [
            *("sh", "-c", 'exec cpio -o -H newc -R 0:0 --reproducible --quiet <"$1" >"$2"', "sh"),
            *(names, plain),
        ],
        RunOptions(cwd=stage),
        error=BuildError,
        what="pack the guest",
    )
    archive.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=6, mtime=0))
    plain.unlink()
    names.unlink()
