# SPDX-License-Identifier: MIT
"""The `replay` task: repeats a run from its bundle; nothing is built, fetched or cached."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.bundle.agreement import compare
from harness.bundle.manifest import Manifest, Original
from harness.core import typed_json
from harness.core.errors import UsageError
from harness.core.paths import RESULTS
from harness.jobs import emulator_test, fuzz
from harness.jobs.bundled import Unpacked, opened, unknown
from harness.jobs.options import EmulatorTestOptions, FuzzOptions
from harness.jobs.pool import MOST_GUESTS
from harness.results.folder import ResultFolder
from harness.results.kcidb import check_origin
from harness.results.run_result import KCIDB_ORIGIN
from harness.scenarios.catalogue import check_trigger, policies_of, select
from harness.scenarios.fuzz_round import MOST_SEED
from harness.ui.workspace import Workspace

FILE = "replay.json"


def run(
    ws: Workspace,
    bundle: Path,
    *,
    kcidb_origin: str = KCIDB_ORIGIN,
    results: Path = RESULTS,
) -> int:
    """Repeat the run in the file `bundle`; return the exit status of the new run.

    Report, and write into the results, whether it ended as the original did. Raise
    UsageError if there is no such file or nothing was run, and InfrastructureError if the bundle
    is incomplete, or this harness cannot repeat its run. Errors of booting pass through.
    """
    check_origin(kcidb_origin)
    with opened(bundle, partial(_check_run, bundle)) as found:
        manifest = found.manifest
        task, rounds, original = manifest.scenarios, manifest.rounds, manifest.original
        assert original is not None
        ended = f"the original run, {manifest.run}: {original.result}"
        found = replace(found, notes=(ended, *found.notes))
        compared = partial(_compared, found, original)
        if task is not None:
            test = EmulatorTestOptions(
                target=found.target,
                results=results,
                bundle=found,
                is_replay=True,
                policy=task.policy,
                trigger=task.trigger,
                scenarios=task.names,
                jobs=str(task.guests),
                # It would stay in the cache.
                snapshot=False,
                kcidb_origin=kcidb_origin,
            )
            return emulator_test.run(ws, test, last_words=compared)
        assert rounds is not None
        again = FuzzOptions(
            target=found.target,
            results=results,
            bundle=found,
            is_replay=True,
            seed=rounds.seed,
            rounds=max(rounds.count, 1),
            jobs="1",
        )
        return fuzz.run(ws, again, last_words=compared)


def _compared(found: Unpacked, original: Original, folder: ResultFolder, now: Original) -> str:
    """Record whether the run ended as the original did; return the line that says so."""
    agreement = compare(original, now)
    told = {
        "bundle": found.file.name,
        "sha256": found.sha256,
        "agrees": agreement.agrees,
        "line": agreement.line,
        "differences": agreement.differences,
        "original": original,
    }
    folder.put(FILE, typed_json.to_text(told))
    return agreement.line


def _check_run(bundle: Path, manifest: Manifest) -> None:
    """Raise UsageError if nothing was run, InfrastructureError if the run cannot be repeated."""
    task, rounds = manifest.scenarios, manifest.rounds
    if task is None and rounds is None:
        raise UsageError(
            f"{bundle} has what was built, and nothing was run of it",
            hint=f"./inv emulator-test --bundle {shlex.quote(str(bundle))}",
        )
    if task is not None:
        try:
            policies = policies_of(task.policy)
            most = len(policies) * len(select(task.names, check_trigger(task.trigger)))
        except UsageError as error:
            raise unknown(manifest, error.message) from error
        if not 1 <= task.guests <= min(most, MOST_GUESTS):
            raise unknown(manifest, f"{task.guests} guests shared the scenarios")
    if rounds is not None:
        if rounds.seed > MOST_SEED:
            raise unknown(manifest, f"its seed is {rounds.seed}")
        fuzz.check_bundle(manifest)
