# SPDX-License-Identifier: MIT
"""`emulator-test --watch`: the test again at each save, with what changed since the last time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import EXIT_INTERRUPTED, HarnessError, UsageError
from harness.jobs import cli, emulator_test, room
from harness.jobs.inputs import Inputs, concerns, places_of, read_inputs
from harness.jobs.options import EmulatorTestOptions
from harness.jobs.saves import Abandoned, Saves
from harness.results.run_result import RunResult
from harness.ui.workspace import Workspace

# A verdict, by policy and scenario.
Verdicts = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Tested:
    """A run that came to its end: what it was made from, and its verdicts."""

    inputs: Inputs
    verdicts: Verdicts


def run(ws: Workspace, options: EmulatorTestOptions, limit: float = math.inf) -> None:
    """Test the kernel, and test it again at each save, until the user interrupts.

    A save during a test ends that test, and another one begins. After each other test, room is
    made in the cache, which may have `limit` bytes. Raise UsageError if the first test finds a
    wrong option; other errors end only one test.
    """
    places = places_of(options)
    folders = ", ".join(str(place.path) for place in places)
    waiting = f"waiting for a save in {folders}; Ctrl-C ends it"
    now: Inputs | None = None
    last: Tested | None = None

    def is_save(path: Path) -> bool:
        # Until they have been read, anything that happens to one may be a save.
        known = now
        return concerns(places, path) if known is None else known.differs(path)

    with Saves([place.path for place in places], is_save) as saves:
        while True:
            now = None
            # Each test is a run by itself: what only earlier ones used may be removed.
            ws.cache.release()
            saves.forget()
            try:
                now = read_inputs(ws, options, places)
            except (HarnessError, OSError) as error:
                # Mostly a file that went away meanwhile, which is a save.
                cli.report(error, ws.reporter)
                saves.wait()
                continue
            # What happened while they were read. `now` is set before: what comes later differs.
            if any(map(now.differs, saves.forget())):
                continue
            if last is None or now != last.inputs:
                try:
                    with saves.giving_up():
                        last, end = _test(ws, options, now, last)
                except Abandoned:
                    ws.reporter.say("a file was saved: the test begins again")
                    ws.reporter.close(EXIT_INTERRUPTED)
                    continue
                room.keep_below(ws.cache, limit, ws.reporter.say)
                ws.reporter.say(waiting)
                _report_end(ws, end)
            else:
                ws.reporter.say(f"all is as it was at the last test; {waiting}")
            saves.wait()


def _test(
    ws: Workspace, options: EmulatorTestOptions, inputs: Inputs, last: Tested | None
) -> tuple[Tested, int | HarnessError | OSError]:
    """Run one test, and say what has changed since the last one.

    Return it with its exit status, or the error that ended it.
    """
    seen: list[RunResult] = []
    end: int | HarnessError | OSError
    try:
        end = emulator_test.run(ws, options, seen.append)
    except (HarnessError, OSError) as error:
        # The options were right at the first test, so that a file is wrong, or gone for a moment.
        if last is None and isinstance(error, UsageError):
            raise
        end = error
    verdicts = verdicts_of(seen[-1]) if seen else {}
    if last is not None:
        for line in (
            *(f"changed: {line}" for line in inputs.changes_since(last.inputs)),
            *(f"verdict: {line}" for line in differences(last.verdicts, verdicts)),
        ):
            ws.reporter.say(line)
    # What is compared next time is the last run that has verdicts.
    return Tested(inputs, verdicts or (last.verdicts if last is not None else {})), end


def _report_end(ws: Workspace, end: int | HarnessError | OSError) -> None:
    """Report the end of one test, as that of a task is reported."""
    if isinstance(end, int):
        ws.reporter.close(end)
    else:
        cli.report(end, ws.reporter)


def verdicts_of(result: RunResult) -> Verdicts:
    """Return all verdicts of a run."""
    return {(one.policy, one.scenario): one.outcome.value for one in result.judged}


def differences(before: Verdicts, now: Verdicts) -> list[str]:
    """Return a line for each verdict that differs, and if none does, one that says so."""
    if not now:
        return ["none"]
    lines = []
    for place in dict.fromkeys((*now, *before)):
        old, new = before.get(place, "none"), now.get(place, "none")
        if old != new:
            policy, scenario = place
            name = f"{scenario} {policy}".strip()
            lines.append(f"{name}: {old} → {new}")
    return lines or ["the same as before"]
