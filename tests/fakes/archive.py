# SPDX-License-Identifier: MIT
"""A package archive like Debian's, in a folder, for tests with the real apt and mmdebstrap."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.build import debian


def make_deb(folder: Path, name: str, version: str, content: Path | None = None) -> Path:
    """Build a package of that name, with the contents of the folder `content`; return its path."""
    root = content or folder / f"{name}-{version}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: x <x@invalid>\nDescription: x\n"
    )
    deb = folder / f"{name}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "-b", root, deb], check=True, capture_output=True)
    return deb


@dataclass
class Archive:
    """One suite of an archive, with packages of architecture "all"."""

    folder: Path
    suite: str = "bookworm"
    debs: list[Path] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The archive's line in a sources.list."""
        return f"deb [trusted=yes] copy:{self.folder} {self.suite} main"

    def offer(self, *debs: Path) -> None:
        """Add packages, and write the package lists again."""
        self.debs += debs
        lists = self.folder / "dists" / self.suite
        packages = lists / "main/binary-amd64/Packages"
        packages.parent.mkdir(parents=True, exist_ok=True)
        packages.write_text("".join(f"{self._entry(deb)}\n" for deb in self.debs))
        data = packages.read_bytes()
        (lists / "Release").write_text(
            f"Suite: {self.suite}\nCodename: {self.suite}\nArchitectures: amd64\nComponents: main\n"
            f"SHA256:\n {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/Packages\n"
        )

    def _entry(self, deb: Path) -> str:
        control = subprocess.run(
            ["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True
        ).stdout
        data = deb.read_bytes()
        place = f"Filename: {deb.relative_to(self.folder)}\nSize: {len(data)}\n"
        return f"{control}{place}SHA256: {hashlib.sha256(data).hexdigest()}\n"

    def is_all_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the harness use this archive in place of Debian's."""
        monkeypatch.setattr(debian, "_sources", lambda _suite: ([self.line], []))
