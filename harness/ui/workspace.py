# SPDX-License-Identifier: MIT
"""What every step of a run is given: where to store, whom to tell, how wide."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.cache import Cache
from harness.core.paths import cache_root
from harness.ui.progress import Reporter


def usable_cpus() -> int:
    """The CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Workspace:
    """The cache, the person's terminal, and the number of parallel jobs."""

    cache: Cache = field(default_factory=lambda: Cache(cache_root()))
    reporter: Reporter = field(default_factory=Reporter)
    jobs: int = field(default_factory=usable_cpus)

    @classmethod
    def telling(cls, reporter: Reporter, jobs: int = 0) -> Workspace:
        """The user's cache, and this terminal; `jobs` is 0 for as many as there are CPUs."""
        return cls(Cache(cache_root(), reporter.say), reporter, jobs if jobs > 0 else usable_cpus())

    @property
    def logs(self) -> Path:
        """Where the logs of builds go; they outlive a build that failed."""
        return self.cache.root / "logs"
