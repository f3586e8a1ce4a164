# SPDX-License-Identifier: MIT
"""The checks that CI runs: style, types, shell scripts, unit tests, browser tests, boot tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.build.source import fetch
from harness.core import process
from harness.core.boot_tests import boot_test_file, boot_test_files
from harness.core.errors import InfrastructureError, VerdictError
from harness.core.paths import BOOT_TESTS, REPO
from harness.jobs.pool import count_of
from harness.targets.model import Target
from harness.ui.workspace import Workspace, usable_cpus

# Time for a pytest that is told to stop: it ends its machines first.
_GRACE_SECONDS = 30.0
# Each process of the unit tests reads all of them first, which takes seconds.
_MOST_PROCESSES = 8
# With this status of ruff, mypy, shellcheck or pytest, the check ran and found something.
_FOUND_SOMETHING = 1


@dataclass(frozen=True)
class Check:
    """A program that checks the repository; `argv` is called when the check runs."""

    name: str
    argv: Callable[[], Sequence[str]]
    # Whether its output is shown as it comes, and not only if it found something.
    shown: bool = False


def _python(*arguments: str) -> Callable[[], Sequence[str]]:
    return lambda: (sys.executable, "-m", *arguments)


def shell_scripts() -> tuple[str, ...]:
    """Return the repository's shell scripts: all files that begin with `#!` and sh."""
    listed = process.run(
        # Without this option, git refuses to run as root in another user's clone.
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"],
        process.RunOptions(cwd=REPO),
        what="git ls-files",
    )
    return tuple(sorted(name for name in listed.output.split("\0") if _is_shell(REPO / name)))


def _is_shell(path: Path) -> bool:
    """Return whether the file's first line names sh."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        first = stream.readline(200).split()
    return bool(first) and first[0].startswith(b"#!") and first[-1].rpartition(b"/")[2] == b"sh"


def _beside_python(program: str) -> str:
    """Return the path of a program that a locked Python package installs."""
    return str(Path(sys.executable).with_name(program))


def _unit_tests(cpus: int) -> Sequence[str]:
    """Return the command for the unit tests: two processes of pytest for each CPU.

    Many tests wait for a program. With `worksteal` each process begins with tests that are side
    by side, so that what the tests of a file share is mostly made once.
    """
    processes = min(2 * cpus, _MOST_PROCESSES)
    side_by_side = ("-n", str(processes), "--dist", "worksteal")
    return (sys.executable, "-m", "pytest", "tests/unit", *side_by_side)


LINT = (
    Check("ruff check", _python("ruff", "check", "--no-fix")),
    Check("ruff format", _python("ruff", "format", "--diff")),
    Check("mypy", _python("mypy")),
    Check("imports", lambda: (_beside_python("lint-imports"), "--no-cache")),
    Check("shellcheck", lambda: (_beside_python("shellcheck"), "-s", "sh", *shell_scripts())),
)
UNIT_TESTS = (Check("unit tests", lambda: _unit_tests(usable_cpus()), shown=True),)
# Tests that are too long to run at every push: each builds a kernel from its first file on.
LONG_BOOT_TESTS = ("bisect", "debug_kernel", "edits", "one_cpu")
BROWSER_TESTS = (Check("browser tests", _python("pytest", "tests/browser"), shown=True),)


def on_source(ws: Workspace, target: Target, source: str | None) -> Target:
    """Return the target with a source for its tests.

    Fetch it now, so that a wrong source is one error here, and not one of each test. Raise
    UsageError and SourceError, as source.fetch() does. A path becomes absolute, because the
    tests run in another folder than the user's.
    """
    if source is None:
        return target
    fetch(ws, target, source)
    path = Path(source).expanduser()
    return replace(target, given_source=str(path.absolute()) if path.exists() else source)


def boot_tests(
    target: Target, jobs: str = "", files: Sequence[str] = (), without: Sequence[str] = ()
) -> tuple[Check, ...]:
    """Return the tests that boot the target's kernel, for guests side by side.

    `jobs` is the number of guests, as in pool.count_of(); the tests of one file run on the same
    guest. `files` are the only files of tests to run, as boot_test_file()
    takes them; without any, all run but those in `without`. Raise UsageError for a wrong number or
    file.
    """
    chosen = list(dict.fromkeys(boot_test_file(name) for name in files))
    count = count_of(jobs, target, len(chosen or boot_test_files()))
    words = [
        "pytest",
        *(chosen or [BOOT_TESTS.relative_to(REPO).as_posix()]),
        "--kernel",
        target.name,
    ]
    words += [f"--ignore={boot_test_file(name)}" for name in without]
    words += ["--source", target.given_source] if target.given_source else []
    words += ["--debug-kernel"] if target.debug else []
    words += ["--toolchain", target.toolchain] if target.is_llvm else []
    # Name each test that does not apply to the kernel, with the reason.
    words += ["-rs"]
    words += ["-n", str(count), "--dist", "loadfile"] if count > 1 else []
    name = "boot tests"
    name += " on the kernel that checks itself" if target.debug else ""
    name += " (clang)" if target.is_llvm else ""
    name += f" in {', '.join(Path(one).name for one in chosen)}" if chosen else ""
    name += f", {count} guests" if count > 1 else ""
    return (Check(name, _python(*words), shown=True),)


def run(ws: Workspace, *groups: Sequence[Check]) -> None:
    """Run groups of checks; all checks of a group run, and the next group only if they passed.

    Raise VerdictError if a check found something, and InfrastructureError if one did not run.
    """
    for group in groups:
        failed = [check.name for check in group if not _passes(ws, check)]
        if failed:
            raise VerdictError(f"not passed: {', '.join(failed)}")


def _passes(ws: Workspace, check: Check) -> bool:
    """Run one check, and show what it found; return whether it passed."""
    say = ws.reporter.say
    with ws.reporter.phase(check.name):
        done = process.run(
            check.argv(),
            process.RunOptions(
                cwd=REPO, on_line=say if check.shown else None, grace=_GRACE_SECONDS
            ),
            check=False,
        )
    if done.status != 0 and not check.shown:
        say(done.output.rstrip())
    if done.status not in (0, _FOUND_SOMETHING):
        last = "".join(done.output.splitlines()[-1:])
        raise InfrastructureError(f"{check.name} did not run (status {done.status}): {last}")
    return done.status == 0
