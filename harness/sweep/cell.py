# SPDX-License-Identifier: MIT
"""A cell of a sweep: one command that a user could type, and the kernel that it needs. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import pairwise

from harness.targets.model import DEFAULT_TOOLCHAIN

_BUNDLED = ("emulator-test", "fuzz")


@dataclass(frozen=True)
class Build:
    """A kernel that is built once in a sweep, with its modules, programs and guest.

    `kernel` is a target's name. `configuration` is the name that the matrix gives to the options
    of the build, empty for the kernel's own. `words` are those options for the command line, from
    `--kernel` on.
    """

    kernel: str
    configuration: str = ""
    words: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name of the build for people; each build of a matrix has another one."""
        return f"{self.kernel} {self.configuration}".rstrip()

    @property
    def compiled(self) -> str:
        """What a worker must be able to build: the kernel, and the toolchain if it is unusual."""
        named = {next_one for word, next_one in pairwise(self.words) if word == "--toolchain"}
        return " ".join((self.kernel, *(named - {DEFAULT_TOOLCHAIN})))


@dataclass(frozen=True)
class Cell:
    """A run of a sweep.

    `task` is emulator-test, fuzz, bench or boot-test. `words` are the options of the task other
    than those of the build. `policy` and `trigger` are empty where the task has none, `seed` is a
    fuzz run's first seed, `file` a boot test's file. `repetition` counts from 1; the repetitions
    of a cell differ in nothing else. `seconds` is a guess of how long it takes, without the build.
    `label` is the name that the matrix gives to a run whose other options tell it apart.
    """

    build: Build
    task: str
    words: tuple[str, ...] = ()
    policy: str = ""
    trigger: str = ""
    seed: int | None = None
    file: str = ""
    repetition: int = 1
    seconds: float = 0.0
    label: str = ""

    @property
    def is_bundled(self) -> bool:
        """Whether it boots a bundle, built on any machine; the others build for themselves."""
        return self.task in _BUNDLED

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command that does the same by hand."""
        return ("./inv", self.task, *self.build.words, *self.words)

    @property
    def column(self) -> str:
        """What the cell does to its kernel, for people: its column in a table of the kernels."""
        own = (self.policy, self.trigger, self.file, self.label)
        parts = (self.task, *own, "" if self.seed is None else f"seed {self.seed}")
        return " ".join(part for part in parts if part)

    @property
    def title(self) -> str:
        """The name of the cell for people; each cell of a matrix has another one."""
        again = f" #{self.repetition}" if self.repetition > 1 else ""
        return f"{self.build.title}: {self.column}{again}"

    @property
    def line(self) -> str:
        """The command as a line for a shell."""
        return shlex.join(self.command)
