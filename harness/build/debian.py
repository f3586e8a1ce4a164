# SPDX-License-Identifier: MIT
"""Packages of Debian's archive, whichever system the host is.

A host's own apt knows the suites of that host: trixie has no linux-source-6.1, and
Ubuntu no adbd for a guest. So mmdebstrap sets up an apt with the lists of one suite,
checked with Debian's keyring. The mirror, and how the network is reached, are
the host's where its apt is configured for Debian, and Debian's defaults elsewhere.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.core.cache import KEY_LENGTH, digest, disk_full_named
from harness.core.errors import DownloadError, SourceError
from harness.core.process import require, run
from harness.ui.workspace import Workspace

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Every architecture's list has the packages that are for all of them.
ANY = "amd64"
# apt's own downloader of single files; it is on no PATH.
_APT_HELPER = "/usr/lib/apt/apt-helper"
_URI = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$", re.MULTILINE
)
# apt's words for what went wrong, among much that did not.
_COMPLAINTS = ("E:", "Err:")
LOOK_AT_NETWORK = "look at the network, and at the mirror that apt uses"


@dataclass(frozen=True)
class Package:
    """A file that Debian's archive offers, where it is, and the hash that its lists state."""

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
    """What the archive said of a package, and how many seconds ago."""

    package: Package
    age: float


def known(ws: Workspace, name: str, suite: str, architecture: str = ANY) -> Known | None:
    """What the archive said of a package when it was asked last; None if it never was."""
    memory = _memory(ws, name, suite, architecture)
    try:
        package = Package(**json.loads(memory.read_text()))
        return Known(package, time.time() - memory.stat().st_mtime)
    except (OSError, ValueError, TypeError):
        return None  # not asked yet, or not readable: it is only a memory


def ask(
    ws: Workspace, name: str, suite: str, architecture: str = ANY, *, security: bool = True
) -> Package:
    """The newest `name` in `suite` or, with `security`, its security updates.

    It asks the archive, which takes some seconds, and remembers the answer. Raises
    SourceError where the archive cannot be reached or has no package of that name,
    ToolMissingError.
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
        # While a mirror is being brought up to date, a list may not fit its signature.
        ws.reporter.say(f"the security updates of {suite} cannot be had now: done without them")
        answer = _answer(name, suite, architecture, archive, log)
    package = _package(name, suite, answer, log)
    memory = _memory(ws, name, suite, architecture)
    with disk_full_named(ws.cache.root):
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps(asdict(package)))
    return package


def download(ws: Workspace, package: Package, folder: Path) -> None:
    """Puts the package's file into `folder`; apt compares its hash.

    Raises DownloadError where it cannot be had, or is not what the archive's lists state.
    """
    log = ws.logs / f"download-{package.key}.log"
    log.unlink(missing_ok=True)
    # Without the first option apt warns that its own user cannot write to a cache folder.
    options = ["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]
    words = ["download-file", package.uri, package.file_name, f"SHA256:{package.sha256}"]
    try:
        run([_APT_HELPER, *options, *words], cwd=folder, log=log, error=DownloadError)
    except DownloadError as failed:
        raise DownloadError(
            f"apt could not download {package.name} {package.version}",
            hint=LOOK_AT_NETWORK,
            log=log,
            tail=complaints(failed.tail),
        ) from failed


def mmdebstrap(architecture: str, variant: str, form: str) -> list[str]:
    """The command for an apt of Debian's that runs nothing of what it unpacks.

    How this host reaches the network (proxies, certificates) holds there, too. The mode
    "chrootless" needs neither root nor user namespaces, and so is the same for everybody.
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
        # Signatures are checked. How old a list is matters little to a kernel and a
        # guest for tests, which reach nothing but this host.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        # A name is a name: linux-source-6.1 would else find linux-source-6.12.
        '--aptopt=APT::Cmd::Pattern-Only "true"',
    ]


def mirror() -> str | None:
    """The mirror of Debian's archive that this host uses; None if it uses none."""
    return pick_mirror(_index_targets(), "Debian", "/debian")


def complaints(output: str) -> str:
    """The last of what apt complained of; where it did not, the end of `output`."""
    said = [line for line in output.splitlines() if line.startswith(_COMPLAINTS)]
    return "\n".join(said[-3:]) or output


def pick_mirror(targets: str, label: str, ending: str) -> str | None:
    """The archive called `label` among apt's index targets; None if there is none.

    `targets` are lines `origin|label|uri`. Origin and label are empty until
    apt has fetched its lists; then the `ending` of the address has to tell.
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
    """What apt says of the package, with `sources` as its sources.list."""
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-") as scratch:
        # apt drops root for its downloads and must get through.
        Path(scratch).chmod(0o755)
        try:
            return run(
                [
                    *mmdebstrap(architecture, "custom", "null"),
                    f"--customize-hook={_print_uri(name)}",
                    *(suite, "-", *sources),
                ],
                # Its temporary folder goes with ours, also when it is killed.
                env={"TMPDIR": scratch},
                log=log,
                error=SourceError,
                what=f"look for {name} in {suite}",
            ).output
        except SourceError as failed:
            raise SourceError(
                f"Debian's {suite} could not be asked for {name}",
                hint=LOOK_AT_NETWORK,
                log=log,
                tail=complaints(failed.tail),
            ) from failed


def _package(name: str, suite: str, answer: str, log: Path) -> Package:
    """The package that an answer offers; SourceError where it offers none."""
    found = _URI.search(answer)
    if found is None or not found["file"].startswith(f"{name}_"):
        raise SourceError(
            f"Debian's {suite} has no package {name}", log=log, tail=complaints(answer)
        )
    file_name = found["file"].replace("%3a", ":")
    # package_version_architecture.deb; the version may hold anything but "_".
    return Package(name, file_name.split("_")[1], found["uri"], file_name, found["sha256"])


def _sources(suite: str) -> tuple[list[str], list[str]]:
    """Lines of a sources.list for `suite`, and for its security updates.

    Both are empty where this host's apt has no archive of Debian's: mmdebstrap
    takes its own for both then.
    """
    targets = _index_targets()
    archive = pick_mirror(targets, "Debian", "/debian")
    if archive is None:
        return [], []
    security = pick_mirror(targets, "Debian-Security", "/debian-security")
    updates = [f"deb {security} {suite}-security main"] if security else []
    return [f"deb {archive} {suite} main"], updates


def _index_targets() -> str:
    """What this host's apt has lists of."""
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    return run(["apt-get", "indextargets", "--format", form, "Identifier: Packages"]).output


def _print_uri(name: str) -> str:
    """The shell command by which mmdebstrap's apt says where the package is."""
    # That there is none is no failure of mmdebstrap's.
    words = shlex.join(["apt-get", "download", "--print-uris", name])
    return f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {words} || true'


def _memory(ws: Workspace, name: str, suite: str, architecture: str) -> Path:
    return ws.cache.root / "candidates" / f"{digest(name, suite, architecture)}.json"
