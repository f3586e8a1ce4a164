# SPDX-License-Identifier: MIT
"""What is asked of Debian's archive: by the real apt and mmdebstrap, of an archive in a folder."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from archive import Archive, make_deb
from stand_ins import script, workspace

from harness.build import debian
from harness.core.errors import DownloadError, SourceError
from harness.ui.workspace import Workspace

MIRROR = "http://archive.example/debian"
PACKAGE = "linux-source-6.1"


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def ws(tmp_path: Path, said: io.StringIO) -> Workspace:
    return workspace(tmp_path / "cache", said)


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


def test_what_is_not_what_the_lists_state_does_not_come(
    ws: Workspace, archive: Archive, tmp_path: Path
) -> None:
    deb = make_deb(archive.folder, PACKAGE, "6.1.10-1")
    archive.offer(deb)
    found = debian.ask(ws, PACKAGE, "bookworm")
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    with pytest.raises(
        DownloadError, match=r"could not download linux-source-6\.1 6\.1\.10-1"
    ) as bad:
        debian.download(ws, found, tmp_path)
    # apt 2 and 3 tell it in other words.
    assert "linux-source-6.1_6.1.10-1_all.deb" in bad.value.tail
    assert bad.value.log is not None


def test_an_archive_out_of_reach_is_a_short_error(ws: Workspace, archive: Archive) -> None:
    with pytest.raises(SourceError, match="Debian's bookworm could not be asked for lin") as bad:
        debian.ask(ws, PACKAGE, "bookworm")
    assert bad.value.hint == debian.LOOK_AT_NETWORK
    assert len(bad.value.tail.splitlines()) <= 3


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


@pytest.mark.parametrize(
    ("lines", "mirror"),
    [
        ([f"Debian|Debian|{MIRROR}/"], MIRROR),
        # Security's archive has Debian's origin and not the suite that is wanted.
        (["Debian|Debian-Security|http://s.example/debian/", f"Debian|Debian|{MIRROR}/"], MIRROR),
        (["Vendor|Vendor|http://v.example/debian/", f"Debian|Debian|{MIRROR}/"], MIRROR),
        # apt has not fetched its lists yet.
        (["||http://v.example/apt/", f"||{MIRROR}/"], MIRROR),
        (["Ubuntu|Ubuntu|http://u.example/ubuntu/"], None),
        ([], None),
    ],
)
def test_pick_mirror(lines: list[str], mirror: str | None) -> None:
    assert debian.pick_mirror("\n".join(lines), "Debian", "/debian") == mirror


SECURITY = "http://security.example/debian-security"
# What `apt-get indextargets` says on systems that were looked at.
HOSTS = {
    "Debian 12": [f"Debian|Debian|{MIRROR}/", f"Debian|Debian-Security|{SECURITY}/"],
    "Debian 13 by mmdebstrap": [f"Debian|Debian|{MIRROR}/"],
    "Debian without lists": [f"||{MIRROR}/", f"||{SECURITY}/"],
    "Ubuntu": ["Ubuntu|Ubuntu|http://u.example/ubuntu/"] * 3,
}


@pytest.mark.parametrize(
    ("host", "archive_line", "security_line"),
    [
        ("Debian 12", True, True),
        ("Debian 13 by mmdebstrap", True, False),
        ("Debian without lists", True, True),
        # mmdebstrap knows an archive of Debian's itself, with its security updates.
        ("Ubuntu", False, False),
    ],
)
def test_the_mirror_is_the_hosts(
    host: str,
    archive_line: bool,
    security_line: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = "\n".join(HOSTS[host])
    script(tmp_path / "apt-get", f"cat <<'END'\n{lines}\nEND")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    archive, security = debian._sources("bookworm")
    assert archive == ([f"deb {MIRROR} bookworm main"] if archive_line else [])
    expected = [f"deb {SECURITY} bookworm-security main"] if security_line else []
    assert security == expected
