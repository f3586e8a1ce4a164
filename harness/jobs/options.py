# SPDX-License-Identifier: MIT
"""The options of the tasks that test a kernel, and the commands that repeat their runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from harness.core.paths import RESULTS
from harness.jobs.bundled import Unpacked
from harness.results.run_result import KCIDB_ORIGIN
from harness.targets.model import DEFAULT_TOOLCHAIN, GitSource, Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the tasks have in common.

    The kernel is built from `source` (as in --source; default: the target's own), with `patches`
    behind the series. If there is a `bundle`, which must be for the `target`, nothing is built;
    with `is_replay`, the run repeats the bundle's. `jobs` is the number of guests side by side, as
    in pool.count_of(). The run's folder is made below `results`. `lasting_source` is what a
    repetition has to name if `source` is a copy that will be removed.
    """

    target: Target
    source: str | None = None
    patches: tuple[Path, ...] = ()
    jobs: str = ""
    results: Path = RESULTS
    lasting_source: str | None = None
    bundle: Unpacked | None = None
    is_replay: bool = False

    @property
    def bundle_file(self) -> Path | None:
        """The bundle's file, if there is one."""
        return self.bundle.file if self.bundle is not None else None

    def at_commit(self, commit: str | None) -> Self:
        """Return the options with the kernel's own git source at `commit`: its branch may move."""
        own = self.target.source
        if self.source is not None or not isinstance(own, GitSource):
            return self
        return replace(self, source=f"{own.url}@{commit}")

    def _built(self) -> dict[str, object]:
        """Return the options that say which kernel is built, and what it boots on."""
        if self.bundle is not None:
            return {"bundle": self.bundle.file}
        target = self.target
        return {
            "kernel": target.name,
            "emulator": target.emulator,
            "source": self.lasting_source or self.source,
            "debug": target.debug,
            "toolchain": target.toolchain if target.toolchain != DEFAULT_TOOLCHAIN else None,
            "cross_compile": target.cross_compile if target.is_cross_compile_changed else None,
        }

    def _repeated_by(self, task: str, **options: object) -> tuple[str, ...]:
        """Return the command that repeats the run: the task with its options, or replay."""
        if self.bundle is not None and self.is_replay:
            return ("./inv", "replay", str(self.bundle.file))
        return ("./inv", task, *_words(options))


@dataclass(frozen=True, kw_only=True)
class EmulatorTestOptions(Options):
    """The options of `emulator-test`; `policy` may be "all", and `scenarios` None: all of them.

    `config` is a file of Kconfig lines, and `avd` names the virtual device of an Android
    Emulator. With `snapshot`, restore a guest that has booted before instead of booting. With
    `differential`, do the same on the source's own kernel, and report what differs.
    `kcidb_origin` is the sender's name in the results for KernelCI.
    """

    policy: str
    trigger: str
    scenarios: tuple[str, ...] | None = None
    config: Path | None = None
    avd: str | None = None
    snapshot: bool = True
    differential: bool = False
    kcidb_origin: str = KCIDB_ORIGIN

    def command(self) -> tuple[str, ...]:
        """Return the words of the command that repeats the run."""
        return self._repeated_by(
            "emulator-test",
            policy=self.policy,
            trigger=self.trigger,
            **self._built(),
            avd=self.avd,
            no_snapshot=not self.snapshot,
            jobs=self.jobs,
            differential=self.differential,
            scenario=self.scenarios,
            patch=self.patches,
            config=self.config,
        )


@dataclass(frozen=True, kw_only=True)
class FuzzOptions(Options):
    """The options of `fuzz`: the first round's seed, and `rounds`, or if that is 0, `minutes`."""

    seed: int
    minutes: float = 1.0
    rounds: int = 0

    def command(self) -> tuple[str, ...]:
        """Return the words of the command that repeats the run."""
        return self._repeated_by(
            "fuzz",
            **self._built(),
            patch=self.patches,
            seed=str(self.seed),
            rounds=self.rounds,
            minutes=None if self.rounds else f"{self.minutes:g}",
            jobs=self.jobs,
        )

    def of_round(self, seed: int) -> FuzzOptions:
        """Return the options that repeat the round of this seed alone."""
        return replace(self, seed=seed, rounds=1, jobs="")


@dataclass(frozen=True, kw_only=True)
class BisectOptions:
    """The options of `bisect`: `test` is done to each commit.

    `source` is a git repository, a path or a URL; `good` and `bad` name two of its commits. With
    `boot_fails_is_bad`, a kernel that does not boot is bad; otherwise its commit is skipped.
    """

    test: EmulatorTestOptions
    source: str
    good: str
    bad: str
    boot_fails_is_bad: bool = False
    results: Path = RESULTS

    def command(self) -> tuple[str, ...]:
        """Return the words of the command that repeats the bisect."""
        _, _, *words = replace(self.test, source=None, lasting_source=None).command()
        own = {
            "source": self.source,
            "good": self.good,
            "bad": self.bad,
            "boot_fails_is_bad": self.boot_fails_is_bad,
        }
        return ("./inv", "bisect", *_words(own), *words)


@dataclass(frozen=True, kw_only=True)
class BootOptions(Options):
    """The options of `boot`: the shell's user, by name or uid; for the others see above."""

    user: str
    avd: str | None = None
    snapshot: bool = True


@dataclass(frozen=True, kw_only=True)
class BuildOptions(Options):
    """The options of `bundle --build`; `config` is a file of Kconfig lines."""

    config: Path | None = None

    def command(self) -> tuple[str, ...]:
        """Return the words of the command that builds the same, without --output."""
        built = self._built()
        more = {"patch": self.patches, "config": self.config}
        return self._repeated_by("bundle", build=True, **built, **more)


def _words(options: dict[str, object]) -> Iterator[str]:
    """Yield options as words; a tuple repeats its option, and an empty value is left out."""
    for name, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one:
                yield f"--{name.replace('_', '-')}"
                yield from () if one is True else (str(one),)
