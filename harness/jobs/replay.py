# SPDX-License-Identifier: MIT
"""The `replay` task: repeats a run from its bundle; nothing is built, fetched or cached."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.build.bootable import Bootable
from harness.bundle import archive as bundle_archive
from harness.bundle import built
from harness.bundle.agreement import compare
from harness.bundle.manifest import PROGRAMS_FOLDER, Manifest, Original
from harness.core import typed_json
from harness.core.cache import file_sha256
from harness.core.errors import InfrastructureError, UsageError
from harness.core.paths import RESULTS
from harness.core.process import require
from harness.jobs import emulator_test, fuzz
from harness.jobs.options import EmulatorTestOptions, FuzzOptions
from harness.jobs.pool import MOST_GUESTS
from harness.machine import qemu
from harness.results.folder import ResultFolder
from harness.results.kcidb import check_origin
from harness.results.run_result import KCIDB_ORIGIN
from harness.scenarios.catalogue import check_trigger, policies_of, select
from harness.scenarios.fuzz_round import MOST_SEED, PROGRAM
from harness.targets.model import Target
from harness.targets.table import get_target
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
    UsageError if there is no such file, and InfrastructureError if the bundle is incomplete,
    or this harness cannot repeat its run. Errors of booting pass through.
    """
    check_origin(kcidb_origin)
    with tempfile.TemporaryDirectory(prefix="goldfish-oom-") as scratch:
        with ws.reporter.phase("unpack bundle"):
            manifest = bundle_archive.unpack(bundle, Path(scratch))
        target = known_target(manifest)
        _check_known(manifest)
        require(manifest.machine.binary, "adb")
        ws.reporter.say(f"the original run, {manifest.run}: {manifest.original.result}")
        for line in differences(manifest):
            ws.reporter.say(line)
        files = built.unpacked(manifest.kernel.release, Path(scratch), manifest.packages)
        # The digest is computed now, while the file exists.
        again = _Again(ws, bundle, file_sha256(bundle), manifest, files)
        options = _options(manifest, target, bundle, results)
        if isinstance(options, FuzzOptions):
            return again.rounds(options)
        return again.scenarios(replace(options, kcidb_origin=kcidb_origin))


def _options(
    manifest: Manifest, target: Target, bundle: Path, results: Path
) -> EmulatorTestOptions | FuzzOptions:
    """Return the options that repeat the run of a bundle."""
    task, rounds = manifest.scenarios, manifest.rounds
    if task is not None:
        return EmulatorTestOptions(
            target=target,
            results=results,
            replay_of=bundle,
            policy=task.policy,
            trigger=task.trigger,
            scenarios=task.names,
            jobs=str(task.guests),
            # It would stay in the cache.
            snapshot=False,
        )
    assert rounds is not None
    return FuzzOptions(
        target=target,
        results=results,
        replay_of=bundle,
        seed=rounds.seed,
        rounds=max(rounds.count, 1),
    )


def known_target(manifest: Manifest) -> Target:
    """Return this harness's target for the run; raise InfrastructureError if it has none.

    A machine is never taken from a bundle: QEMU's options can give access to the host's files.
    """
    place = manifest.place
    try:
        target = get_target(place.target, place.emulator)
    except UsageError as error:
        raise _unknown(manifest, error.message) from error
    if target.machine != manifest.machine:
        raise _unknown(manifest, f"{target.name} boots on {target.machine.title} here")
    return target.checking_itself() if place.debug else target


def differences(manifest: Manifest) -> Iterator[str]:
    """Yield a line for each difference from the original that might change the outcome."""
    version = qemu.version(manifest.machine)
    if manifest.qemu != version:
        yield f"another QEMU: {version}, was {manifest.qemu}"
    arguments = qemu.kernel_command_line(manifest.machine)
    if manifest.arguments != arguments:
        yield f"other arguments for the kernel: {arguments}, was {manifest.arguments}"
    if manifest.harness.code != built.this_harness().code:
        yield f"another harness than the original's, {_harness(manifest)}"


@dataclass(frozen=True)
class _Again:
    """A repetition of the run in the file `bundle`."""

    ws: Workspace
    bundle: Path
    sha256: str
    manifest: Manifest
    files: Bootable

    def scenarios(self, options: EmulatorTestOptions) -> int:
        """Repeat the scenarios, as emulator-test does; return the exit status."""
        kernel = self.manifest.kernel
        test = emulator_test.begin(self.ws, options, int(options.jobs))
        test.last_words.append(
            lambda summary: self._compared(test.folder, Original.of_run(summary))
        )
        with emulator_test.told(test):
            test.note(**asdict(kernel))
            emulator_test.note_built(test, kernel, self.files)
            emulator_test.perform_built(test, self.files)
        return emulator_test.finish(test)

    def rounds(self, options: FuzzOptions) -> int:
        """Repeat the rounds of the fuzz test; return the exit status."""
        work = fuzz.begin(self.ws, options)
        fuzz.note_built(work, self.manifest.kernel, self.files)
        fuzz.perform_built(work, self.files)
        return fuzz.finish(work, lambda done: self._compared(done.folder, done.told))

    def _compared(self, folder: ResultFolder, now: Original) -> str:
        """Record whether the run ended as the original did; return the line that says so."""
        found = compare(self.manifest.original, now)
        told = {
            "bundle": self.bundle.name,
            "sha256": self.sha256,
            "agrees": found.agrees,
            "line": found.line,
            "differences": found.differences,
            "original": self.manifest.original,
        }
        folder.put(FILE, typed_json.to_text(told))
        return found.line


def _check_known(manifest: Manifest) -> None:
    """Raise InfrastructureError if this harness cannot repeat the run."""
    task, rounds = manifest.scenarios, manifest.rounds
    if task is not None:
        try:
            policies_of(task.policy)
            select(task.names, check_trigger(task.trigger))
        except UsageError as error:
            raise _unknown(manifest, error.message) from error
        if not 1 <= task.guests <= MOST_GUESTS:
            raise _unknown(manifest, f"{task.guests} guests shared the scenarios")
    if rounds is not None and rounds.seed > MOST_SEED:
        raise _unknown(manifest, f"its seed is {rounds.seed}")
    program = f"{PROGRAMS_FOLDER}/{PROGRAM}"
    if rounds is not None and program not in {member.name for member in manifest.members}:
        raise _unknown(manifest, f"it has no {program}")


def _unknown(manifest: Manifest, why: str) -> InfrastructureError:
    machine = manifest.machine.title
    return InfrastructureError(
        f"the run was on {manifest.place.target} on {machine}, which this harness cannot repeat:"
        f" {why}",
        hint=f"the harness that made the bundle, {_harness(manifest)}",
    )


def _harness(manifest: Manifest) -> str:
    """Return the version and the commit of the bundle's harness, as text."""
    known = manifest.harness
    where = f"commit {known.commit[:12]}" if known.commit else f"code {known.code}"
    return f"{known.version}, {where}"
