# SPDX-License-Identifier: MIT
"""The guests of a run: how many there are, and their work side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import psutil

from harness.build.bootable import Bootable
from harness.core.errors import UsageError
from harness.core.lifetime import Healths
from harness.core.side_by_side import SideBySide
from harness.machine.session import Boot, Session, open_session
from harness.results.folder import ResultFolder
from harness.scenarios.catalogue import UIDS
from harness.targets.model import QemuMachine, Target
from harness.ui.workspace import Workspace, usable_cpus

Own = TypeVar("Own")
Item = TypeVar("Item")
Result = TypeVar("Result")

# More would be a mistake, or the malice of a bundle's author.
MOST_GUESTS = 64
_MOST_DIGITS = 9
# The host's memory that a guest takes besides its own, and what is left to other programs.
_BESIDES_MIB = 256
_SPARED_MIB = 1024
_MIB = 1 << 20
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Setup:
    """What the guests boot, the folder for their logs, and how many there are.

    The first guest boots `boot`; `further` is what all others boot, if it is something else. The
    guests run side by side, or with `in_turn` one after the other.
    """

    ws: Workspace
    boot: Boot
    folder: ResultFolder
    count: int
    further: Boot | None = None
    in_turn: bool = False

    @property
    def turns(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the guests that run side by side, for each group after the other."""
        numbers = tuple(range(1, self.count + 1))
        return tuple((number,) for number in numbers) if self.in_turn else (numbers,)

    def boot_of(self, number: int) -> Boot:
        """Return what a guest boots; guests are numbered from 1."""
        return self.boot if number == 1 or self.further is None else self.further


def count_of(text: str, target: Target, most: int, each: int = 1, more: int = 0) -> int:
    """Return the number of guests in `text`; for "" or "0", as many as make sense here.

    That is as many as have CPUs of their own, and `more`, if there is free memory, and for each of
    them at least `each` pieces of the work; `most` is all of the work. Raise UsageError if `text`
    is no number, or the number is too high.
    """
    # Of thousands of digits Python makes no number.
    if not (text.isascii() and (text.isdigit() or not text) and len(text) < _MOST_DIGITS):
        raise UsageError(f"not a number of guests: {text}", hint="--jobs 1")
    wanted = int(text or "0")
    if not isinstance(target.machine, QemuMachine):
        if wanted > 1:
            raise UsageError("an AVD runs once at a time", hint="--jobs 1")
        return 1
    if wanted > min(most, MOST_GUESTS):
        raise UsageError(
            f"{wanted} guests are too many", hint=f"--jobs {min(most, MOST_GUESTS)}, or fewer"
        )
    if wanted:
        return wanted
    free = _free_memory() // _MIB - _SPARED_MIB
    by_memory = free // (target.machine.memory_mib + _BESIDES_MIB)
    # Two guests on the same CPUs take longer than one: a guest's CPUs wait for each other.
    by_cpus = usable_cpus() // target.machine.smp + more
    return max(1, min(by_cpus, by_memory, most // each, MOST_GUESTS))


def _free_memory() -> int:
    """Return the free memory in bytes; a container may have less than its host."""
    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())
        return min(free, limit - int((_CGROUP / "memory.current").read_text()))
    return free


def boot_of(
    target: Target, files: Bootable, snapshot: bool = False, avd: str | None = None
) -> Boot:
    """Return how to boot a guest from the files that were built for it; see Boot.

    The first guest of an edit is not saved: that would take 50 MB and a second, and few edits are
    booted twice.
    """
    return Boot(
        target,
        files.image,
        files.initramfs,
        files.release,
        snapshot=snapshot and not files.is_edit,
        avd=avd,
        uids=UIDS,
        tools=files.tools,
        pushed=files.pushed,
    )


class Pool(Generic[Own, Item, Result]):
    """The guests of a run: each takes the next item of the work when it is free.

    `numbers` are those of the guests; without it, they are all of the setup's. `opened` takes the
    number of a guest, from 1, opens its session by session(), and yields what `do` needs of it.
    `do` performs an item. Both are called in the guest's own thread. `choose` says which of the
    remaining items a guest takes next, by its index, or None: see SideBySide.
    """

    def __init__(
        self,
        setup: Setup,
        opened: Callable[[int], AbstractContextManager[Own]],
        do: Callable[[Own, Item], Result],
        choose: Callable[[int, Sequence[Item]], int | None] | None = None,
        numbers: Sequence[int] = (),
    ) -> None:
        self._setup = setup
        self._healths = Healths()
        of = numbers or range(1, setup.count + 1)
        chosen = None if choose is None else lambda index, left: choose(of[index], left)
        self._side = SideBySide(lambda index: opened(of[index]), do, len(of), chosen)

    def session(self, number: int) -> AbstractContextManager[Session]:
        """Start a guest, and yield its session."""
        return open_session(
            self._setup.ws,
            self._setup.boot_of(number),
            self._setup.folder.of_guest(number),
            started=self._healths.add,
            label=label_of(number),
        )

    def run(self, work: Iterable[Item], take: Callable[[Result], None]) -> None:
        """Have the work done; call `take` with each result, in this thread, as they come.

        The first error in a guest ends the work, and is raised when all guests have ended. An
        error or interruption here ends the guests, too.
        """
        # Always closed: otherwise the threads would outlive the caller.
        with closing(self._side.run(work, self._healths.end)) as results:
            for _, result in results:
                take(result)

    def stop(self) -> None:
        """Let the guests begin no further work."""
        self._side.stop()

    @property
    def ended(self) -> bool:
        """Whether the guests were ended from here, while they may have been at work."""
        return self._healths.ended


def label_of(guest: int) -> str:
    """Return the suffix of a text about a guest; the first one has none."""
    return "" if guest == 1 else f", guest {guest}"
