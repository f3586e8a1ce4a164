# SPDX-License-Identifier: MIT
"""`make` for a kernel: its command, its environment, its errors, and what the build folder has."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.build.toolchain import compiler, linker, make_words
from harness.build.work_tree import WorkTree
from harness.core.cache import digest
from harness.core.errors import BuildError
from harness.core.process import RunOptions, run
from harness.targets.model import Target
from harness.ui.workspace import Workspace

# How many errors a message shows.
ERROR_LINES = 6
# make removes half-made objects when it is ended; otherwise it would take them for whole ones.
_GRACE_SECONDS = 20.0
# The same input gives the same bytes, independent of user and time.
_REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "goldfish-oom",
    "KBUILD_BUILD_HOST": "goldfish-oom",
    "KBUILD_BUILD_VERSION": "1",
}
_CCACHE_SIZE = "2G"
CCACHED = Path(__file__).with_name("ccached")

_ERROR = re.compile(
    r"(?:.*: )?(?:fatal )?error: .*|.*: undefined reference to .*|ERROR: .*|.*\bError: .*"
    r"|.*: syntax error.*|make(?:\[\d+\])?: \*\*\* .*"
    # Kconfig's message for a tree without the board's configuration.
    r"|\*\*\* Can't find .*"
)


@dataclass(frozen=True)
class KernelMake:
    """A `make` for one kernel, in its work tree; call it under the tree's lock."""

    ws: Workspace
    target: Target
    tree: WorkTree
    release: str
    local_version: str
    log: Path

    def argv(self, *goals: str) -> list[str]:
        """Return the command for `goals`, which may also set variables."""
        words = compiler(self.target)
        if shutil.which("ccache"):
            words = f"{self._ccached} {words}"
        return [
            "make",
            "-C",
            str(self.tree.tree),
            f"O={self.tree.build}",
            f"-j{self.ws.jobs}",
            f"ARCH={self.target.arch}",
            *make_words(self.target),
            f"CC={words}",
            f"LD={linker(self.target)}",
            f"LOCALVERSION={self.local_version}",
            *self.target.make_variables,
            *goals,
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that `make` gets besides those that every program gets."""
        ccache = {
            "CCACHE_DIR": str(self.ws.cache.root / "ccache"),
            "CCACHE_MAXSIZE": _CCACHE_SIZE,
            # An object that was compiled in one tree also serves a tree elsewhere.
            "CCACHE_BASEDIR": str(self.tree.folder),
            "CCACHE_NOHASHDIR": "1",
            # The compiler lists the headers as it compiles, so a first build costs little more
            # than without ccache. Files that .incbin includes are not on the list: see
            # harness/build/ccached.
            "CCACHE_DEPEND": "1",
            # Nor is a new header on it that hides one that is.
            "CCACHE_NAMESPACE": self.tree.pristine.namespace,
        }
        return {**_REPRODUCIBLE, **ccache}

    def __call__(
        self,
        *goals: str,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> str:
        """Make `goals` and return the output; BuildError names the first errors in it."""
        self.tree.build.mkdir(parents=True, exist_ok=True)
        shutil.copy(CCACHED, self._ccached)
        errors: list[str] = []

        def watch(line: str) -> None:
            if _ERROR.fullmatch(line):
                errors.append(self.shorten(line))
            if on_line is not None:
                on_line(line)

        try:
            return run(
                self.argv(*goals),
                RunOptions(
                    env={**self.environment(), **(env or {})}, on_line=watch, grace=_GRACE_SECONDS
                ),
                log=self.log,
                error=BuildError,
                what=f"make {goals[-1]}",
            ).output
        except BuildError as failed:
            if not errors:
                raise
            raise BuildError(
                f"make {goals[-1]} failed: {errors[0].strip()}",
                log=self.log,
                tail="\n".join(errors[1:ERROR_LINES]),
            ) from failed

    def shorten(self, line: str) -> str:
        """Return a line of output with its paths relative to the kernel tree."""
        for prefix in (f"{self.tree.tree}/", "../source/"):
            line = line.replace(prefix, "")
        return line

    def files_named(self, path: str) -> list[str]:
        """Return the files of the kernel tree that a compiler's message may mean by `path`.

        It is absolute, or relative to the compiler's directory: ccache makes it so.
        """
        tree = self.tree.tree
        places = [Path(os.path.normpath(folder / path)) for folder in (self.tree.build, tree)]
        return [place.relative_to(tree).as_posix() for place in places if tree in place.parents]

    def release_built(self) -> str:
        """Return the release of the kernel in the build folder."""
        return (self.tree.build / "include/config/kernel.release").read_text().strip()

    def compile_with(self, toolchain: str) -> None:
        """Empty the build folder if another compiler filled it: an old kernel has no such rule."""
        known = self.tree.folder / "toolchain"
        if known.is_file() and known.read_text() != toolchain:
            shutil.rmtree(self.tree.build, ignore_errors=True)
        known.write_text(toolchain)

    def is_configured(self, made_from: str) -> bool:
        """Return whether `.config` is what was made of `made_from`."""
        known, config = self.tree.folder / "configured", self.tree.build / ".config"
        if not (known.is_file() and config.is_file()):
            return False
        return known.read_text() == digest(made_from, config.read_bytes())

    def configured(self, made_from: str) -> None:
        """Record what `.config` was made of."""
        config = self.tree.build / ".config"
        (self.tree.folder / "configured").write_text(digest(made_from, config.read_bytes()))

    def forget(self) -> None:
        """Forget which kernel the build folder has; call it before the folder is changed."""
        self._marker.unlink(missing_ok=True)

    def remember(self, key: str) -> None:
        """Record that the build folder has the kernel `key`, ready for modules."""
        self._marker.write_text(key)

    def is_at(self, key: str) -> bool:
        """Return whether the build folder has the kernel `key`."""
        is_there = self.tree.build.is_dir() and self._marker.is_file()
        return is_there and self._marker.read_text() == key

    @property
    def _ccached(self) -> Path:
        """A copy of the script, so that make records no path of the repository."""
        return self.tree.folder / CCACHED.name

    @property
    def _marker(self) -> Path:
        return self.tree.folder / "built"
