# SPDX-License-Identifier: MIT
"""A machine's clock that goes on when a test says so, however fast this host is."""

from __future__ import annotations

from harness.core.patience import MachineClock


class FakeClock(MachineClock):
    """A clock that stands still until `time` is changed."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def follow(self, pid: int) -> None:
        del pid

    def beat(self) -> float:
        """Notice nothing: only `time` counts."""
        return 0.0

    def now(self) -> float:
        return self.time
