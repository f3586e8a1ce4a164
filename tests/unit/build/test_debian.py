# SPDX-License-Identifier: MIT
"""What is asked of Debian's archive: by the real apt and mmdebstrap, of an archive in a folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from archive import Archive, make_deb

from harness.build import debian
from harness.core.errors import SourceError
from harness.ui.workspace import Workspace

MIRROR = "http://archive.example/debian"
PACKAGE = "linux-source-6.1"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = Archive(tmp_path / "archive")
    made.folder.mkdir()
    made.is_all_there_is(monkeypatch)
    return made


def test_the_newest_is_found_downloaded_and_remembered(
    ws: Workspace, archive: Archive, tmp_path: Path
) -> None:
    old = make_deb(archive.folder, PACKAGE, "6.1.9-1")
    new = make_deb(archive.folder, PACKAGE, "6.1.10-1")
    archive.offer(new, old)
    assert debian.known(ws, PACKAGE, "bookworm") is None
    found = debian.ask(ws, PACKAGE, "bookworm")
    assert (found.name, found.version, found.file_name) == (PACKAGE, "6.1.10-1", new.name)
    remembered = debian.known(ws, PACKAGE, "bookworm")
    assert remembered is not None
    assert remembered.package == found
    assert remembered.age < 3600
    # Another suite is another question.
    assert debian.known(ws, PACKAGE, "trixie") is None
    folder = tmp_path / "here"
    folder.mkdir()
    debian.download(ws, found, folder)
    assert (folder / new.name).read_bytes() == new.read_bytes()


def test_a_name_is_no_pattern(ws: Workspace, archive: Archive) -> None:
    # apt takes the point for any character, and leaves out the rest, where no package fits.
    archive.offer(make_deb(archive.folder, "linux-source-6.12", "6.12.1-1"))
    with pytest.raises(SourceError, match="Debian's bookworm has no package linux-source-6") as bad:
        debian.ask(ws, PACKAGE, "bookworm")
    assert f"Unable to locate package {PACKAGE}" in bad.value.tail
    assert debian.known(ws, PACKAGE, "bookworm") is None


def test_security_updates_that_cannot_be_had_are_left_out(
    ws: Workspace,
    archive: Archive,
    said: io.StringIO,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive.offer(make_deb(archive.folder, PACKAGE, "6.1.10-1"))
    updates = Archive(tmp_path / "security", suite="bookworm-security")
    monkeypatch.setattr(debian, "_sources", lambda _suite: ([archive.line], [updates.line]))
    assert debian.ask(ws, PACKAGE, "bookworm").version == "6.1.10-1"
    assert "the security updates of bookworm cannot be had now" in said.getvalue()
    updates.folder.mkdir()
    updates.offer(make_deb(updates.folder, PACKAGE, "6.1.10-2"))
    assert debian.ask(ws, PACKAGE, "bookworm").version == "6.1.10-2"
    assert debian.ask(ws, PACKAGE, "bookworm", security=False).version == "6.1.10-1"


def test_a_damaged_memory_is_no_memory(ws: Workspace, archive: Archive) -> None:
    archive.offer(make_deb(archive.folder, PACKAGE, "6.1.10-1"))
    debian.ask(ws, PACKAGE, "bookworm")
    (memory,) = (ws.cache.root / "candidates").iterdir()
    for text in ("", "[]", '{"name": "x"}'):
        memory.write_text(text)
        assert debian.known(ws, PACKAGE, "bookworm") is None


SECURITY = "http://security.example/debian-security"
DEBIAN = [f"Debian|Debian|{MIRROR}/"]
ARCHIVE_LINES = [f"deb {MIRROR} bookworm main"]
SECURITY_LINES = [f"deb {SECURITY} bookworm-security main"]
OTHER_SECURITY_LINES = ["deb http://s.example/debian bookworm-security main"]


# What `apt-get indextargets` says; the first four are systems that were looked at.
@pytest.mark.parametrize(
    ("said", "archive", "security"),
    [
        ([*DEBIAN, f"Debian|Debian-Security|{SECURITY}/"], ARCHIVE_LINES, SECURITY_LINES),
        (DEBIAN, ARCHIVE_LINES, []),
        ([f"||{MIRROR}/", f"||{SECURITY}/"], ARCHIVE_LINES, SECURITY_LINES),
        # mmdebstrap knows an archive of Debian's itself, with its security updates.
        (["Ubuntu|Ubuntu|http://u.example/ubuntu/"] * 3, [], []),
        # Security's archive has Debian's origin, too, and here a mirror's ending.
        (
            ["Debian|Debian-Security|http://s.example/debian/", *DEBIAN],
            ARCHIVE_LINES,
            OTHER_SECURITY_LINES,
        ),
        (["Vendor|Vendor|http://v.example/debian/", *DEBIAN], ARCHIVE_LINES, []),
        (["||http://v.example/apt/", f"||{MIRROR}/"], ARCHIVE_LINES, []),
        ([], [], []),
    ],
    ids=[
        *("Debian 12", "Debian 13 by mmdebstrap", "Debian without lists", "Ubuntu"),
        *("security first", "a vendor", "a vendor without lists", "no archive"),
    ],
)
def test_the_mirror_is_the_hosts(
    put_on_path: Callable[[str, str], Path],
    said: list[str],
    archive: list[str],
    security: list[str],
) -> None:
    lines = "\n".join(said)
    put_on_path("apt-get", f"cat <<'END'\n{lines}\nEND")
    assert debian._sources("bookworm") == (archive, security)
    assert debian.mirror() == (MIRROR if archive else None)
