# SPDX-License-Identifier: MIT
"""Compiler warnings about our own lines of a kernel."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from harness.build.kernel_make import ERROR_LINES, KernelMake
from harness.build.tree_file import Overlay
from harness.core.errors import BuildError

_DIAGNOSTIC = re.compile(
    r"(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: (?P<kind>warning|(?:fatal )?error): .*"
)


@dataclass(frozen=True)
class Warnings:
    """Compiler warnings in the files of an overlay, which a kernel may not have.

    `before` are the pristine files that it replaces.

    make compiles a file once, and so shows its warnings once. They are therefore recorded as
    they come, and a file with warnings is compiled again in the next build, whether this one
    succeeds or not.
    """

    make: KernelMake
    files: Overlay
    before: Overlay

    @property
    def _memory(self) -> Path:
        return self.make.tree.folder / "warnings.txt"

    def _lines(self) -> list[str]:
        return self._memory.read_text().splitlines() if self._memory.is_file() else []

    def redo(self) -> None:
        """Have the files compiled again that had warnings last time."""
        for line in self._lines():
            file = self.make.tree.tree / line.split(":", 1)[0]
            if file.is_file():
                os.utime(file)
        self._memory.unlink(missing_ok=True)

    def see(self, line: str) -> None:
        """Record the line if it is a warning in a line of ours."""
        found = _DIAGNOSTIC.fullmatch(line)
        if found is None or found["kind"] != "warning":
            return
        for name in self.make.files_named(found["file"]):
            if self.is_ours(name, int(found["line"])):
                with self._memory.open("a") as memory:
                    memory.write(name + line[len(found["file"]) :] + "\n")
                return

    def is_ours(self, name: str, line: int) -> bool:
        """Return whether the line is one that the pristine file does not have."""
        file = self.files.get(name)
        if file is None:
            return False
        before = self.before.get(name)
        old = set(before.data.splitlines()) if before is not None else set()
        lines = file.data.splitlines()
        return not 0 < line <= len(lines) or lines[line - 1] not in old

    def judge(self) -> None:
        """Raise BuildError if there were warnings; only report them if the target allows them."""
        lines = list(dict.fromkeys(self._lines()))
        if not lines:
            return
        message = f"{len(lines)} compiler warning(s) in our own files: {lines[0]}"
        if not self.make.target.warnings_stop:
            self.make.ws.reporter.say(message)
            return
        raise BuildError(message, log=self.make.log, tail="\n".join(lines[1:ERROR_LINES]))
