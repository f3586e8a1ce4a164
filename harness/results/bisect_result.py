# SPDX-License-Identifier: MIT
"""A bisect, as far as it has got: the one model of it, which bisect.json holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from harness.build.bisection import SHORT, Verdict
from harness.core import typed_json

BISECT = "bisect.json"
BISECT_LOG = "bisect.log"
# The values of BisectStep.end.
GOOD_END, BAD_END = "good end", "bad end"


@dataclass(frozen=True)
class BisectStep:
    """A commit that was judged.

    `verdict` is good, bad or skipped, and `reason` says why, unless it is good. `end` is "good
    end" or "bad end" for the two commits that the user named, else empty. `folder` is the result
    folder of the run, relative to that of the bisect; empty if the run has none. `seconds` is how
    long building and testing took.
    """

    commit: str
    subject: str
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0
    folder: str = ""
    end: str = ""

    @property
    def title(self) -> str:
        """The commit for people."""
        return f"{self.commit[:SHORT]} {self.subject}".rstrip()

    @property
    def told(self) -> str:
        """The verdict with its reason, for people."""
        return f"{self.verdict.value} ({self.reason})" if self.reason else self.verdict.value


@dataclass(frozen=True)
class BisectResult:
    """A bisect, as far as it has got.

    `source` is the repository as the user named it, `good` and `bad` are the hashes of the two
    ends. `suspects` are the hashes of the commits one of which is the first bad one: just one if
    it was found, none if nothing was. `problem` is what ended the bisect early.
    """

    kernel: str
    source: str
    good: str
    bad: str
    command: tuple[str, ...] = ()
    started: datetime | None = None
    seconds: float = 0.0
    steps: tuple[BisectStep, ...] = ()
    suspects: tuple[str, ...] = ()
    problem: str = ""

    @property
    def first_bad(self) -> BisectStep | None:
        """The first bad commit's step; None if it was not found."""
        return self.step_of(self.suspects[0]) if len(self.suspects) == 1 else None

    @property
    def last_good(self) -> BisectStep | None:
        """The good commit that was judged last: no other one is nearer to the first bad one."""
        return self._last(Verdict.GOOD)

    @property
    def last_bad(self) -> BisectStep | None:
        """The bad commit that was judged last."""
        return self._last(Verdict.BAD)

    def step_of(self, commit: str) -> BisectStep | None:
        """Return the step in which a commit was judged; None if there is none."""
        return next((one for one in self.steps if one.commit == commit), None)

    def _last(self, verdict: Verdict) -> BisectStep | None:
        return next((one for one in reversed(self.steps) if one.verdict is verdict), None)


def bisect_json(result: BisectResult) -> str:
    """Return the text of bisect.json, which read_bisect() reads."""
    return typed_json.to_text(result, exact=True)


def read_bisect(text: str | bytes) -> BisectResult:
    """Parse a bisect.json; ValueError if it is malformed."""
    return typed_json.read(BisectResult, text, BISECT)
