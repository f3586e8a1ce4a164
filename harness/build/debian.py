# SPDX-License-Identifier: MIT
"""Packages of Debian's archive, whatever system the host runs.

The host's own apt only knows the suites of that host: trixie has no linux-source-6.1, and Ubuntu
no adbd for a guest. So mmdebstrap sets up an apt with the lists of one suite, checked with
Debian's keyring. That apt has the network settings of the host's apt. Its mirror is the host's,
if the host's apt uses one of Debian's, and else Debian's default.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.core.cache import KEY_LENGTH
from harness.core.errors import DownloadError, SourceError
from harness.core.process import RunOptions, require, run
from harness.ui.workspace import Workspace

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Any architecture will do for packages of "all": they are in the lists of each.
ANY = "amd64"
# apt's own downloader for single files; it is not on PATH.
_APT_HELPER = "/usr/lib/apt/apt-helper"
_URI = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$", re.MULTILINE
)
# The beginnings of apt's lines about failures.
_COMPLAINTS = ("E:", "Err:")
LOOK_AT_NETWORK = "look at the network, and at the mirror that apt uses"


@dataclass(frozen=True)
class Package:
    """A file in Debian's archive: its address, and the hash that the archive's lists state."""

    name: str
    version: str
    uri: str
    file_name: str
    sha256: str

    @property
    def key(self) -> str:
        """The name of its cache entry."""
        safe = re.sub(r"[^A-Za-z0-9.+-]", "-", self.version)
        return f"{self.name}-{safe}-{self.sha256[:KEY_LENGTH]}"


@dataclass(frozen=True)
class Known:
    """The archive's last answer about a package, and its age in seconds."""

    package: Package
    age: float


def known(ws: Workspace, name: str, suite: str) -> Known | None:
    """Return the archive's last answer about a package; None if it was never asked."""
    about = ("candidates", name, suite, ANY)
    package = ws.cache.noted(Package, *about)
    with suppress(OSError):
        age = time.time() - ws.cache.note_path(*about).stat().st_mtime
        return None if package is None else Known(package, age)
    return None


def ask(
    ws: Workspace, name: str, suite: str, architecture: str = ANY, *, security: bool = True
) -> Package:
    """Return the newest `name` in `suite` or, with `security`, in its security updates.

    The archive is asked, which takes some seconds, and the answer is stored. Raises SourceError
    if the archive cannot be reached or has no such package, and ToolMissingError.
    """
    if shutil.which("apt-get") is None:
        raise SourceError(f"no apt-get on this machine: {name} cannot be had from Debian")
    require("mmdebstrap")
    log = ws.logs / f"ask-{name}.log"
    log.unlink(missing_ok=True)
    archive, updates = _sources(suite)
    updates = updates if security else []
    try:
        answer = _answer(name, suite, architecture, [*archive, *updates], log)
    except SourceError:
        if not updates:
            raise
        # While a mirror is being updated, a list may not match its signature.
        ws.reporter.say(f"the security updates of {suite} cannot be had now: done without them")
        answer = _answer(name, suite, architecture, archive, log)
    package = _package(name, suite, answer, log)
    ws.cache.note(package, "candidates", name, suite, architecture)
    return package


def download(ws: Workspace, package: Package, folder: Path) -> None:
    """Download the package's file into `folder`; apt compares its hash.

    Raises DownloadError if it cannot be downloaded, or differs from the archive's lists.
    """
    log = ws.logs / f"download-{package.key}.log"
    log.unlink(missing_ok=True)
    # Without the first option apt warns that its own user cannot write to a cache folder.
    options = ["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]
    words = ["download-file", package.uri, package.file_name, f"SHA256:{package.sha256}"]
    with explained(f"apt could not download {package.name} {package.version}", log):
        run([_APT_HELPER, *options, *words], RunOptions(cwd=folder), log=log, error=DownloadError)


def mmdebstrap_argv(architecture: str, variant: str, form: str) -> list[str]:
    """Return the command for an apt of Debian that runs nothing from the packages it unpacks.

    It has this host's network settings (proxies, certificates). The mode "chrootless" needs
    neither root nor user namespaces, so it works for every user alike.
    """
    network = [
        line.strip()
        for line in run(["apt-config", "dump"]).output.splitlines()
        if line.startswith(("Acquire::http::", "Acquire::https::", "Acquire::Retries"))
    ]
    return [
        "mmdebstrap",
        "--mode=chrootless",
        f"--variant={variant}",
        f"--format={form}",
        f"--architectures={architecture}",
        *([f"--keyring={KEYRING}"] if Path(KEYRING).exists() else []),
        *(f"--aptopt={line}" for line in network),
        # Signatures are checked. The age of a list matters little to a kernel and a guest for
        # tests, which reach nothing but this host.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        # A name is no pattern: otherwise linux-source-6.1 would match linux-source-6.12, too.
        '--aptopt=APT::Cmd::Pattern-Only "true"',
    ]


def run_mmdebstrap(argv: Sequence[str], failure: str, log: Path, what: str) -> str:
    """Run mmdebstrap and return its output; SourceError says `failure`, with apt's error lines."""
    # mmdebstrap's temporary folder is in this one, so it goes even if mmdebstrap is killed.
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-") as scratch, explained(failure, log):
        # apt drops root for its downloads, and then has to be able to enter the folder.
        Path(scratch).chmod(0o755)
        options = RunOptions(env={"TMPDIR": scratch})
        return run(argv, options, log=log, error=SourceError, what=what).output


def mirror() -> str | None:
    """Return the mirror of Debian's archive that this host uses; None if it uses none."""
    return pick_mirror(_index_targets(), "Debian", "/debian")


@contextmanager
def explained(message: str, log: Path) -> Iterator[None]:
    """Replace a SourceError of apt by one with this message, and with apt's own error lines."""
    try:
        yield
    except SourceError as failed:
        tail = _complaints(failed.tail)
        raise type(failed)(message, hint=LOOK_AT_NETWORK, log=log, tail=tail) from failed


def _complaints(output: str) -> str:
    """Return apt's last error lines; if there are none, all of `output`."""
    said = [line for line in output.splitlines() if line.startswith(_COMPLAINTS)]
    return "\n".join(said[-3:]) or output


def pick_mirror(targets: str, label: str, ending: str) -> str | None:
    """Return the archive called `label` among apt's index targets; None if there is none.

    `targets` are lines `origin|label|uri`. Origin and label are empty until apt has fetched its
    lists; then the `ending` of the address decides.
    """
    rows = [line.strip().split("|") for line in targets.splitlines() if line.count("|") == 2]
    for origin, its_label, uri in rows:
        if origin == "Debian" and its_label == label:
            return uri.rstrip("/")
    for origin, _, uri in rows:
        if not origin and uri.rstrip("/").endswith(ending):
            return uri.rstrip("/")
    return None


def _answer(name: str, suite: str, architecture: str, sources: list[str], log: Path) -> str:
    """Return what apt prints about the package, with `sources` as its sources.list."""
    hook = f"--customize-hook={_print_uri(name)}"
    return run_mmdebstrap(
        [*mmdebstrap_argv(architecture, "custom", "null"), hook, suite, "-", *sources],
        f"Debian's {suite} could not be asked for {name}",
        log,
        what=f"look for {name} in {suite}",
    )


def _package(name: str, suite: str, answer: str, log: Path) -> Package:
    """Return the package that an answer offers; SourceError if it offers none."""
    found = _URI.search(answer)
    if found is None or not found["file"].startswith(f"{name}_"):
        raise SourceError(
            f"Debian's {suite} has no package {name}", log=log, tail=_complaints(answer)
        )
    file_name = found["file"].replace("%3a", ":")
    # package_version_architecture.deb; the version may hold anything but "_".
    return Package(name, file_name.split("_")[1], found["uri"], file_name, found["sha256"])


def _sources(suite: str) -> tuple[list[str], list[str]]:
    """Return the lines of a sources.list for `suite`, and those for its security updates.

    Both are empty if this host's apt has no archive of Debian: mmdebstrap then uses its own for
    both.
    """
    targets = _index_targets()
    archive = pick_mirror(targets, "Debian", "/debian")
    if archive is None:
        return [], []
    security = pick_mirror(targets, "Debian-Security", "/debian-security")
    updates = [f"deb {security} {suite}-security main"] if security else []
    return [f"deb {archive} {suite} main"], updates


def _index_targets() -> str:
    """Return the index targets of this host's apt, as lines `origin|label|uri`."""
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    return run(["apt-get", "indextargets", "--format", form, "Identifier: Packages"]).output


def _print_uri(name: str) -> str:
    """Return the shell command with which mmdebstrap's apt prints the package's address."""
    # A missing package is no failure of mmdebstrap.
    words = shlex.join(["apt-get", "download", "--print-uris", name])
    return f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {words} || true'
