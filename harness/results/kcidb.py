# SPDX-License-Identifier: MIT
"""Results as a report for KCIDB, KernelCI's database; nothing here sends it.

Schema 5.3. A run becomes a checkout, a build of it, and tests of that build: one for each
verdict, one for each missing verdict, and one for the run as a whole. A further run of the
same kernel adds tests to the same build. There is no `patchset_hash`, because our changes
are files laid over the tree and no list of patches, and no log URLs, because the harness does
not publish the result folder.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from harness.core.errors import UsageError
from harness.core.text import public, visible
from harness.results.run_result import RunResult, ScenarioResult, Status
from harness.ui.events import Planned

VERSION = {"major": 5, "minor": 3}
_ORIGIN = re.compile(r"[a-z0-9_]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Certainly a URL, and without a password.
_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~+-]+)*/?")
_NOT_IN_PATHS = re.compile(r"[^A-Za-z0-9_-]")
# In characters; KCIDB refuses a longer one.
LONGEST_EXCERPT = 16384
SUITE = "mm_limits"

_Object = dict[str, object]


def check_origin(name: str) -> str:
    """Return `name`; UsageError if KCIDB does not accept it as the name of a sender."""
    if not _ORIGIN.fullmatch(name):
        raise UsageError(
            f"KCIDB takes no origin called {name!r}",
            hint="small letters, digits and underscores, in kcidb_origin",
        )
    return name


def kcidb(summary: RunResult) -> _Object:
    """Build the report as an object for JSON."""
    return {
        "version": dict(VERSION),
        "checkouts": [_checkout(summary)],
        "builds": [_build(summary)],
        "tests": _tests(summary),
    }


def _checkout(summary: RunResult) -> _Object:
    found: _Object = {
        "id": _kernel_id(summary),
        "origin": summary.kcidb_origin,
        **started_at(summary.started),
        "misc": {
            "kernel": summary.kernel,
            "changed_files": [text_of(name) for name in summary.changed],
        },
    }
    if summary.release:
        found["valid"] = True
        found["comment"] = f"{text_of(summary.origin)}, with the patches of goldfish-oom"
    if summary.commit and _COMMIT.fullmatch(summary.commit):
        found["git_commit_hash"] = summary.commit
    if summary.repository and _URL.fullmatch(summary.repository):
        found["git_repository_url"] = summary.repository
    return found


def _build(summary: RunResult) -> _Object:
    found: _Object = {
        "id": _kernel_id(summary),
        "checkout_id": _kernel_id(summary),
        "origin": summary.kcidb_origin,
        "architecture": architecture(summary.arch),
    }
    if summary.release:
        found["status"] = Status.PASSED.value
        found["comment"] = text_of(summary.release)
        found["compiler"] = text_of(summary.toolchain)
    elif summary.problem:
        # Patches, compiler or network: only the text says which.
        found["status"] = Status.ERROR.value
        found["comment"] = text_of(summary.problem)
    return found


def _tests(summary: RunResult) -> list[_Object]:
    """Build the tests: the run as a whole, then each verdict, then each missing one."""
    whole: _Object = {
        "path": SUITE,
        "status": summary.status.value,
        "comment": text_of(summary.last_line),
        **started_at(summary.started),
        "misc": {"command": [text_of(word) for word in summary.command]},
    }
    tests = [
        whole,
        *(_verdict(summary, one) for one in summary.judged),
        *(_missing(summary, place) for place in summary.missing),
    ]
    common: _Object = {
        "origin": summary.kcidb_origin,
        "build_id": _kernel_id(summary),
        "environment": {"comment": text_of(summary.machine)},
    }
    run = f"{summary.kcidb_origin}:{text_of(summary.run)}"
    return [
        {"id": f"{run}.{number}" if number else run, **common, **test}
        for number, test in enumerate(tests)
    ]


def _verdict(summary: RunResult, one: ScenarioResult) -> _Object:
    found: _Object = {
        "path": _path(summary, one.place),
        "status": one.status.value,
        "comment": one.outcome.value,
        "duration": one.seconds,
        "misc": {"outcome": one.outcome.name, "kills": one.kill_count},
        **started_at(one.started),
    }
    if one.reasons:
        lines = "".join(f"{text_of(reason)}\n" for reason in one.reasons)
        found["log_excerpt"] = lines[:LONGEST_EXCERPT]
    return found


def _missing(summary: RunResult, place: Planned) -> _Object:
    return {
        "path": _path(summary, place),
        "status": Status.MISSING.value,
        "comment": f"not judged: {text_of(summary.problem or summary.reason)}",
    }


def _path(summary: RunResult, place: Planned) -> str:
    return path_of(summary.trigger, place.policy or "log", place.scenario)


def _kernel_id(summary: RunResult) -> str:
    """Return the kernel's id: its release, which ends in a hash of its inputs, or the run's."""
    return f"{summary.kcidb_origin}:{text_of(summary.release or summary.run)}"


def path_of(*words: str) -> str:
    """Return a test's path in KCIDB's tree of tests; characters that it refuses become `_`."""
    return ".".join(_NOT_IN_PATHS.sub("_", word) or "_" for word in (SUITE, *words))


def architecture(arch: str) -> str:
    """Return the name of an architecture as KCIDB takes it."""
    return re.sub(r"[^a-z0-9_]", "_", arch)


def started_at(moment: datetime | None) -> _Object:
    """Return the field for when something began; none if that is not known."""
    if moment is None:
        return {}
    return {"start_time": moment.astimezone(UTC).isoformat(timespec="milliseconds")}


def text_of(text: str) -> str:
    """Return a text for others: without passwords, and in one line."""
    return visible(public(text))
