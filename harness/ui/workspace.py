# SPDX-License-Identifier: MIT
"""What every step of a run gets: the cache, the reporter, the number of jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.cache import Cache
from harness.core.paths import cache_root
from harness.ui.progress import Reporter


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Workspace:
    """The cache, the reporter for the user's terminal, and the number of parallel jobs."""

    cache: Cache = field(default_factory=lambda: Cache(cache_root()))
    reporter: Reporter = field(default_factory=Reporter)
    jobs: int = field(default_factory=usable_cpus)

    @classmethod
    def telling(cls, reporter: Reporter, jobs: int = 0) -> Workspace:
        """Return a workspace with the user's cache and `reporter`; `jobs` 0 means one per CPU."""
        return cls(Cache(cache_root(), reporter.say), reporter, jobs if jobs > 0 else usable_cpus())

    @property
    def logs(self) -> Path:
        """The folder for build logs; they outlive a build that failed."""
        return self.cache.root / "logs"
