# SPDX-License-Identifier: MIT
"""What the benchmark compares: our kernel and the alternatives, built from the same tree.

All differences between them are data here. The setup of a device is in shell commands, which
root runs.
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
    """A version of cgroups: its mount command, its limit file, its Kconfig lines in `FOLDER`."""

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
    """One of the kernels, with its setup; `text` describes it."""

    name: str
    text: str
    # Whether it has our patches; otherwise it is the source's own kernel.
    patched: bool = True
    # Names a work tree of its own, for a kernel whose changes would recompile a shared one.
    tree: str = ""
    # Files in `FOLDER`: a patch to apply after the series, and additional Kconfig lines.
    patch: str = ""
    config: str = ""
    # The value for /proc/sys/vm/mm_limits_trigger.
    trigger: str = "alloc"
    # The interval of oom_daemon, in seconds; None: there is no daemon.
    daemon: float | None = None
    # The version of cgroups, if the limits are those of the kernel's own memory controller.
    memcg: Groups | None = None

    @property
    def has_limits(self) -> bool:
        """Whether a user can have a limit at all."""
        return self.patched or self.memcg is not None

    @property
    def patches(self) -> tuple[Path, ...]:
        """The patches for kernel.build()."""
        return (FOLDER / self.patch,) if self.patch else ()

    @property
    def config_file(self) -> Path | None:
        """The Kconfig lines for kernel.build()."""
        config = self.memcg.config if self.memcg else self.config
        return FOLDER / config if config else None

    def on(self, target: Target) -> Baseline:
        """Return the same baseline, with cgroup v1 if the target's kernel lacks cgroup v2."""
        old = self.memcg is not None and "cgroup v2" in target.lacks
        return replace(self, memcg=GROUPS_1) if old else self

    def target(self, target: Target) -> Target:
        """Return the target to build."""
        kernel = target if self.patched else target.stock()
        return kernel.in_tree(self.tree) if self.tree else kernel

    @property
    def begin(self) -> str:
        """The command to run once, before anything else."""
        if self.memcg:
            return self.memcg.mount
        return f"echo {self.trigger} > {_TRIGGER}" if self.patched else ":"

    def limit(self, uid: int, size: int | None) -> str:
        """Return the command that gives the user a limit of `size` bytes, or (None) removes it."""
        if self.memcg:
            if size is None:
                return f"rmdir {_group(uid)} 2>/dev/null || :"
            return f"mkdir -p {_group(uid)} && echo {size} > {_group(uid)}/{self.memcg.limit_file}"
        if not self.patched:
            return ":"
        return f"echo uid={uid} max={'none' if size is None else size} > {_PROC}"

    def group_file(self, uid: int) -> str | None:
        """Return the file to which a process must write its pid to be limited; None: no file."""
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
    text="This project, for ten users: memory is counted where the kernel counts RSS.",
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
        for one in (STOCK, PATCHED, PATCHED_4096, SCAN_ALWAYS, TIMER, DAEMON_5, DAEMON_02, MEMCG)
    }
)
