# SPDX-License-Identifier: MIT
"""What the benchmark compares: our kernel, and what others do, built from the same tree.

All that tells one from another is data here; what a device has to be told for
it are shell commands, for root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from harness.core.paths import KERNEL_PATCHES
from harness.targets.model import Target

FOLDER = KERNEL_PATCHES / "baselines"
_PROC = "/proc/mm_limits"
_TRIGGER = "/proc/sys/vm/mm_limits_trigger"
_CGROUPS = "/sys/fs/cgroup"


@dataclass(frozen=True)
class Groups:
    """A version of cgroups: how it is mounted, its file for a limit, Kconfig lines in `FOLDER`."""

    mount: str
    limit_file: str
    config: str


GROUPS_1 = Groups(
    mount=f"mount -t cgroup -o memory none {_CGROUPS}",
    limit_file="memory.limit_in_bytes",
    config="memcg-v1.config",
)
GROUPS_2 = Groups(
    mount=f"mount -t cgroup2 none {_CGROUPS} && echo +memory > {_CGROUPS}/cgroup.subtree_control",
    limit_file="memory.max",
    config="memcg.config",
)


@dataclass(frozen=True)
class Baseline:
    """One of the kernels, with what has to run on it; `text` says what it is."""

    name: str
    text: str
    # Whether it is our kernel, or the source's own.
    patched: bool = True
    # A work tree of its own, where going back and forth would compile all anew.
    tree: str = ""
    # In `FOLDER`: what comes behind the series, and more Kconfig lines.
    patch: str = ""
    config: str = ""
    # What /proc/sys/vm/mm_limits_trigger is to be.
    trigger: str = "alloc"
    # How often oom_daemon looks, in seconds; None: there is none.
    daemon: float | None = None
    # Where limits are those of the kernel's own memory controller.
    memcg: Groups | None = None

    @property
    def has_limits(self) -> bool:
        """Whether a user can have a limit at all."""
        return self.patched or self.memcg is not None

    @property
    def patches(self) -> tuple[Path, ...]:
        """For kernel.build()."""
        return (FOLDER / self.patch,) if self.patch else ()

    @property
    def config_file(self) -> Path | None:
        """For kernel.build()."""
        config = self.memcg.config if self.memcg else self.config
        return FOLDER / config if config else None

    def on(self, target: Target) -> Baseline:
        """The same with what the target's kernel has."""
        old = self.memcg is not None and "cgroup v2" in target.lacks
        return replace(self, memcg=GROUPS_1) if old else self

    def target(self, target: Target) -> Target:
        """What to build."""
        kernel = target if self.patched else target.stock()
        return kernel.in_tree(self.tree) if self.tree else kernel

    @property
    def begin(self) -> str:
        """To be run once, before anything else."""
        if self.memcg:
            return self.memcg.mount
        return f"echo {self.trigger} > {_TRIGGER}" if self.patched else ":"

    def limit(self, uid: int, size: int | None) -> str:
        """Gives the user a limit of `size` bytes, or takes it away."""
        if self.memcg:
            if size is None:
                return f"rmdir {_group(uid)} 2>/dev/null || :"
            return f"mkdir -p {_group(uid)} && echo {size} > {_group(uid)}/{self.memcg.limit_file}"
        if not self.patched:
            return ":"
        return f"echo uid={uid} max={'none' if size is None else size} > {_PROC}"

    def group_file(self, uid: int) -> str | None:
        """What a process has to write itself to for the limit to be its own; None: nothing."""
        return f"{_group(uid)}/cgroup.procs" if self.memcg else None


def _group(uid: int) -> str:
    return f"{_CGROUPS}/u{uid}"


STOCK = Baseline(
    name="stock",
    text="The source's own kernel: the same configuration, none of our patches and files.",
    patched=False,
    tree="stock",
)
PATCHED = Baseline(
    name="patched",
    text="This project: limits are checked when memory is allocated, for ten users.",
)
PATCHED_4096 = Baseline(
    name="patched-4096",
    text="The same with room for 4096 limits (`CONFIG_MM_LIMITS_SLOTS=4096`).",
    tree="slots-4096",
    config="slots-4096.config",
)
SCAN_ALWAYS = Baseline(
    name="scan-always",
    text="The 2020 report's design on top of ours: whenever a user with a limit allocates, "
    "all processes are walked to add up what the user has.",
    patch="scan-always.patch",
)
TIMER = Baseline(
    name="timer",
    text="A kernel timer that enforces all limits every 200 ms, on top of ours; "
    "an allocation checks nothing (`mm_limits_trigger` is `none`).",
    patch="timer.patch",
    trigger="none",
)
DAEMON_5 = Baseline(
    name="daemon-5",
    text="Ours with `mm_limits_trigger` at `none`, and `oom_daemon 5`: a program that calls "
    "`my_oom_killer` every 5 s, as the report's did.",
    trigger="none",
    daemon=5,
)
DAEMON_02 = Baseline(
    name="daemon-0.2",
    text="The same, every 0.2 s.",
    trigger="none",
    daemon=0.2,
)
MEMCG = Baseline(
    name="memcg",
    text="The source's own kernel with its memory controller (`CONFIG_MEMCG`, cgroup v2): one "
    "group for each user, whose `memory.max` is the limit. It charges page tables and kernel "
    "memory, too, and a shared page only to the first who touched it, where the sums here count "
    "it for each process: so its limit is about something else, and by those sums its users stay "
    "a little above it. Whatever it can reclaim it does before anybody is killed. Before 4.5 it is "
    "that of cgroup v1, without the page tables.",
    patched=False,
    tree="memcg",
    memcg=GROUPS_2,
)
BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        one.name: one
        for one in (
            *(STOCK, PATCHED, PATCHED_4096),
            *(SCAN_ALWAYS, TIMER, DAEMON_5, DAEMON_02, MEMCG),
        )
    }
)
