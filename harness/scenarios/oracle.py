# SPDX-License-Identifier: MIT
"""An oracle: says which process should have died, by a model independent of the kernel's. Pure.

The kernel reports as trace events each candidate of a scan, with the inputs of its score, and
each kill. The oracle computes the score from these inputs again, by the contract of each
policy; only CPU time is taken as reported.

Events are lines of tracefs' file `trace`:

    dd-88  [001] d..2.  12.345678: mm_limits_candidate: scan=… uid=… pid=… score=… rss=… …
    dd-88  [001] d..2.  12.345690: mm_limits_kill: uid=… uRSS=… mm_max=… pid=… pRSS=… score=… …
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.scenarios.evidence import Candidate, Decision
from harness.targets.model import PAGE

# Before Linux 4.17 badness subtracts this percentage of all memory for a privileged process.
_ADMIN_BONUS = 3
_PID = r"(?P<pid>[1-9][0-9]{0,9})"
_UID = r"uid=(?P<uid>[0-9]{1,10})"
_SCORE = r"score=(?P<score>-?[0-9]{1,19})"
# A process's name may hold anything, but is too short to hold an event.
_PREFIX = (
    r"^ *.{1,16}-[0-9]+ +(?:\([ 0-9-]+\) +)?\[[0-9]{3,}\] +(?:\S+ +)?(?P<time>[0-9]+\.[0-9]+): "
)
_EVENT = re.compile(
    rf"{_PREFIX}(?:"
    rf"mm_limits_candidate: scan=(?P<scan>[0-9]+) {_UID} pid={_PID} {_SCORE} rss=(?P<rss>[0-9]+)"
    r" swap=(?P<swap>[0-9]+) pgtables=(?P<pgtables>[0-9]+) adj=(?P<adj>-?[0-9]+)"
    r" admin=(?P<admin>[01]) total=(?P<total>[0-9]+) policy=(?P<policy>\w+)"
    r"|mm_limits_kill: uid=(?P<killed_uid>[0-9]+) uRSS=[0-9]+ mm_max=[0-9]+"
    r" pid=(?P<killed>[0-9]+) pRSS=[0-9]+ score=-?[0-9]+ policy=(?P<killed_policy>\w+)"
    r" trigger=\w+ dry_run=[01] sharer_of=(?P<sharer_of>[0-9]+) comm=\S*)$",
    re.MULTILINE,
)
_BUFFER = re.compile(r"^# entries-in-buffer/entries-written: ([0-9]+)/([0-9]+) ", re.MULTILINE)


def model_score(candidate: Candidate, policy: str) -> int:
    """Compute a score by the policy's contract.

    For CPU time and for a module's policy the kernel's score counts.
    """
    if policy == "rss":
        return candidate.rss // PAGE
    if policy == "badness":
        used = (candidate.rss + candidate.swap + candidate.pgtables) // PAGE
        total = candidate.total // PAGE
        spared = _ADMIN_BONUS * (total // 100) if candidate.admin else 0
        return used - spared + candidate.adj * (total // 1000)
    return candidate.score


def choose(candidates: Sequence[Candidate], policy: str) -> int | None:
    """Return the pid of the model's victim; None without candidates.

    It has the largest score; of equal scores the larger RSS wins, then the younger process,
    which the kernel compares later.
    """
    ranks = [
        (model_score(one, policy), one.rss, number, one.pid)
        for number, one in enumerate(candidates)
    ]
    return max(ranks)[-1] if ranks else None


def parse_decisions(trace: str) -> tuple[Decision, ...] | None:
    """Return the decisions in a trace, in its order; None if the trace buffer overflowed.

    A process that dies because it shares the victim's memory belongs to the victim's
    decision. Never raises.
    """
    lost = _BUFFER.search(trace)
    if lost is not None and int(lost[1]) < int(lost[2]):
        return None
    found: list[Decision] = []
    scan, weighed = "", list[tuple[int, Candidate]]()
    for event in _EVENT.finditer(trace):
        if event["scan"] is not None:
            if event["scan"] != scan:
                scan, weighed = event["scan"], []
            weighed.append((int(event["uid"]), _candidate(event)))
        elif event["sharer_of"] == "0":
            uid = int(event["killed_uid"])
            among = tuple(candidate for owner, candidate in weighed if owner == uid)
            found.append(_decision(event, uid, among))
            weighed = []
    return tuple(found)


def _candidate(event: re.Match[str]) -> Candidate:
    return Candidate(
        pid=int(event["pid"]),
        score=int(event["score"]),
        rss=int(event["rss"]) * PAGE,
        swap=int(event["swap"]) * PAGE,
        pgtables=int(event["pgtables"]) * PAGE,
        adj=int(event["adj"]),
        admin=event["admin"] == "1",
        total=int(event["total"]) * PAGE,
    )


def _decision(event: re.Match[str], uid: int, among: tuple[Candidate, ...]) -> Decision:
    policy, chosen = event["killed_policy"], int(event["killed"])
    expected = choose(among, policy)
    wrong = tuple(one.pid for one in among if model_score(one, policy) != one.score)
    return Decision(
        time=float(event["time"]),
        uid=uid,
        policy=policy,
        chosen=chosen,
        candidates=among,
        expected=expected,
        misjudged=wrong,
        agrees=chosen == expected and not wrong,
    )
