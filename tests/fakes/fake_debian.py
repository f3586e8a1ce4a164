# SPDX-License-Identifier: MIT
"""The answers of Debian's archive and of git servers, without a network."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from harness.build import debian, git_source
from harness.core.errors import SourceError
from harness.targets.model import GitSource
from harness.ui.workspace import Workspace

COMMIT = "a" * 40


def package(name: str = "linux-source-6.1", version: str = "6.1.1-1") -> debian.Package:
    """Return a package of the archive's."""
    return debian.Package(name, version, "http://x/x.deb", "x.deb", "0" * 64)


@dataclass
class Network:
    """What can be asked over the network, and what the cache remembers of the last answer."""

    # What the archive has now of every package; None: it cannot be reached, nor can a git server.
    version: str | None = "6.1.1-1"
    known: debian.Known | None = None
    # Said meanwhile to the user.
    says: str = ""
    # The packages that were asked for, with their suites.
    asked: list[tuple[str, str]] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the harness ask here."""
        monkeypatch.setattr(debian, "ask", self._ask)
        monkeypatch.setattr(debian, "known", lambda *_: self.known)
        monkeypatch.setattr(git_source, "commit_of", self._commit_of)

    def _ask(
        self, ws: Workspace, name: str, suite: str, _: str = "", *, security: bool = True
    ) -> debian.Package:
        self.asked.append((name, suite))
        if self.says:
            ws.reporter.say(self.says)
        if self.version is None:
            raise SourceError("the archive could not be asked", hint="look at the network")
        return package(name, self.version)

    def _commit_of(self, _ws: Workspace, _source: GitSource) -> str:
        if self.version is None:
            raise SourceError("the server could not be asked", hint="look at the network")
        return COMMIT
