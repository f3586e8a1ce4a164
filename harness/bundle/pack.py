# SPDX-License-Identifier: MIT
"""The `bundle` task: puts everything that is needed to repeat a run elsewhere into one file."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.filesize import decimal

from harness.bundle import archive as bundle_archive
from harness.bundle import built
from harness.bundle.built import Record
from harness.bundle.manifest import (
    ORIGINAL_FOLDER,
    SCHEMA,
    Harness,
    Kernel,
    Manifest,
    Member,
    Original,
    Rounds,
    check_members,
)
from harness.bundle.scrub import places_of, scrubbed, scrubbed_json, scrubbed_log, scrubbed_words
from harness.core import typed_json
from harness.core.errors import InfrastructureError, UsageError
from harness.core.paths import REPO, RESULTS
from harness.core.process import run as run_program
from harness.core.text import public, visible
from harness.results.folder import CONSOLE_LOG, KERNEL_LOG, LATEST
from harness.results.fuzz_result import FUZZ, FuzzResult
from harness.results.run_result import KILLS, VERDICT, RunResult, parse_run
from harness.scenarios.evidence import DECISIONS, USAGE
from harness.ui.workspace import Workspace

SUFFIX = ".bundle.tar.gz"
_COMMAND = "command.txt"
# Results of the original: evidence to compare with, not needed to repeat the run.
_LOGS = (CONSOLE_LOG, KERNEL_LOG, "output.txt")
_JSON = (VERDICT, FUZZ, KILLS, USAGE, DECISIONS)


def run(
    ws: Workspace, result: Path | None, output: Path | None = None, results: Path = RESULTS
) -> Path:
    """Write the bundle of a run (default: the last one); return its file.

    `result` is the run's folder, `output` the file (default: in the working directory, named
    after the folder). Raises UsageError if there is no run that can be repeated elsewhere, and
    InfrastructureError if a part of it is gone or damaged.
    """
    folder = (result or results / LATEST).resolve()
    # Before the original is read: it fails for a replay, which has no command of its own.
    record = _record(folder)
    original = _Original.read(folder, record)
    file = output or Path(f"{folder.name}{SUFFIX}")
    check_output(file, f"{folder.name}{SUFFIX}")
    with ws.reporter.phase("bundle"):
        contents = {**_built(ws, record, original), **original.texts}
        manifest = _manifest(folder, record, original, contents)
        bundle_archive.pack(manifest, contents, file)
    ws.reporter.say(f"to repeat it elsewhere: ./inv replay {shlex.quote(str(file))}")
    ws.reporter.result(f"{file}: {decimal(file.stat().st_size)}, {len(contents)} files")
    return file


def check_output(file: Path, name: str) -> None:
    """Raise UsageError if `file` cannot be written; the hint is for a file called `name`."""
    if file.is_dir():
        raise UsageError(f"{file} is a folder", hint=f"--output {file / name}")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}", hint=f"--output {name}")


@dataclass(frozen=True)
class _Original:
    """The run as its folder describes it, with nothing left that tells of this machine.

    `texts` are its files for the bundle. `places` is what replaces paths of this machine.
    `story` is how the run went, None if it ended before that was written.
    """

    command: tuple[str, ...]
    places: Mapping[str, str]
    texts: Mapping[str, bytes]
    story: RunResult | FuzzResult | None

    @classmethod
    def read(cls, folder: Path, record: Record) -> _Original:
        """Read the folder; raises InfrastructureError if one of its files is damaged."""
        command = _words(folder / _COMMAND)
        kernel = record.kernel
        places = places_of((*command, kernel.origin, kernel.repository or ""))
        texts = dict(_texts(folder, command, places))
        name = VERDICT if record.scenarios else FUZZ
        parse = parse_run if record.scenarios else partial(typed_json.read, FuzzResult)
        text = texts.get(f"{ORIGINAL_FOLDER}/{name}")
        try:
            story = None if text is None else parse(text.decode())
        except ValueError as error:
            raise InfrastructureError(f"{folder / name} is damaged: {error}") from error
        return cls(command, places, texts, story)

    @property
    def told(self) -> Original:
        """How the run ended."""
        if self.story is None:
            return Original(False, "FAIL: the run did not finish", ())
        if isinstance(self.story, RunResult):
            return Original.of_run(self.story)
        return Original.of_rounds(self.story.problems, self.story.rounds)

    def rounds(self, record: Rounds) -> Rounds:
        """Return what to repeat of a fuzz run: the round that failed, or else all rounds."""
        story = self.story if isinstance(self.story, FuzzResult) else None
        if story is not None and story.failed_seed is not None:
            return Rounds(story.failed_seed, 1)
        return Rounds(record.seed, (story and story.rounds) or record.count or 1)


def _record(folder: Path) -> Record:
    """Read what the run booted; UsageError if it ended before that, or cannot be repeated."""
    if not folder.is_dir():
        raise UsageError(f"there is no result {folder}", hint="./inv emulator-test makes one")
    try:
        record = built.read((folder / built.FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not (folder / _COMMAND).is_file():
            raise UsageError(
                f"{folder} is no result of emulator-test or fuzz", hint="name another folder"
            ) from error
        raise UsageError(
            f"the run of {folder} ended before everything was built: there is nothing to repeat",
            hint=f"the run again: {_shown(folder)}",
        ) from error
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"{folder / built.FILE} is damaged: {error}", hint=f"the run again: {_shown(folder)}"
        ) from error
    if record.replay_of:
        raise UsageError(
            f"what the run of {folder} booted is in a bundle already",
            hint=f"hand that on, {record.replay_of}, and what was run: {_shown(folder)}",
        )
    if record.machine is None:
        raise UsageError(
            "the run was on an Android Emulator, whose system image is not ours to hand on",
            hint="give the run's command.txt, or bundle a run on --emulator qemu",
        )
    return record


def _built(ws: Workspace, record: Record, original: _Original) -> dict[str, bytes]:
    """Read the files that were booted or pushed; InfrastructureError says which are gone."""
    contents, gone = {}, []
    for part in record.parts:
        try:
            ws.cache.lease(ws.cache.path(part.kind, part.key))
            contents[part.member] = part.path(ws.cache).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            gone.append(f"{part.kind}/{part.key}")
        except OSError as error:
            raise InfrastructureError(f"cannot read the cache: {error}") from error
    if gone:
        raise InfrastructureError(
            f"what the run booted is no longer in the cache: {', '.join(dict.fromkeys(gone))}",
            hint=f"build it again: {public(shlex.join(original.command))}",
        )
    return contents


def _texts(
    folder: Path, command: tuple[str, ...], places: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the original's folder that go into the bundle, with their names there."""
    repeat = f"{shlex.join(scrubbed_words(command, places))}\n"
    yield f"{ORIGINAL_FOLDER}/{_COMMAND}", repeat.encode("utf-8", "surrogateescape")
    for path in sorted((*folder.glob("*"), *folder.glob("guest[0-9]*/*"))):
        if not path.is_file() or path.is_symlink():
            continue
        name = f"{ORIGINAL_FOLDER}/{path.relative_to(folder)}"
        if path.name in _LOGS:
            yield name, scrubbed_log(path.read_bytes(), places)
        elif path.name in _JSON:
            try:
                yield name, scrubbed_json(path.read_bytes(), places)
            except ValueError as error:
                raise InfrastructureError(f"{path} is damaged: {error}") from error


def _manifest(
    folder: Path, record: Record, original: _Original, contents: Mapping[str, bytes]
) -> Manifest:
    assert record.machine is not None
    places = original.places
    return Manifest(
        schema=SCHEMA,
        run=visible(folder.name),
        command=tuple(visible(word) for word in scrubbed_words(original.command, places)),
        scenarios=record.scenarios,
        rounds=original.rounds(record.rounds) if record.rounds else None,
        place=record.place,
        machine=record.machine,
        arguments=record.arguments,
        qemu=record.qemu,
        kernel=public_kernel(record.kernel, places),
        packages=record.packages,
        harness=_with_commit(record.harness),
        original=original.told,
        members=members_of(contents),
    )


def members_of(contents: Mapping[str, bytes]) -> tuple[Member, ...]:
    """Return the manifest's entries for all files; InfrastructureError if they make no bundle."""
    members = tuple(bundle_archive.member_of(name, contents[name]) for name in sorted(contents))
    try:
        check_members(members)
    except ValueError as error:
        # A log may be too long for a bundle.
        raise InfrastructureError(f"this makes no bundle: {error}") from error
    return members


def public_kernel(kernel: Kernel, places: Mapping[str, str]) -> Kernel:
    """Return the kernel without passwords, and with each path replaced as in `places`."""
    repository = kernel.repository
    return replace(
        kernel,
        toolchain=scrubbed(kernel.toolchain, places),
        origin=scrubbed(kernel.origin, places),
        repository=None if repository is None else scrubbed(repository, places),
    )


def _with_commit(harness: Harness) -> Harness:
    """Return the harness that ran; with its commit if it is the one here and git has it."""
    if harness != built.this_harness():
        return harness
    try:
        asked = ["git", "-c", "safe.directory=*", "-C", str(REPO)]
        head = run_program([*asked, "rev-parse", "HEAD"], check=False)
        changed = run_program([*asked, "status", "--porcelain", "--", "harness"], check=False)
    except InfrastructureError:
        return harness
    known = head.status == changed.status == 0 and not changed.output
    return replace(harness, commit=head.output.strip()) if known else harness


def _words(path: Path) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(path.read_text(encoding="utf-8", errors="surrogateescape")))
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"{path} is damaged: {error}") from error


def _shown(folder: Path) -> str:
    return public(shlex.join(_words(folder / _COMMAND)))
