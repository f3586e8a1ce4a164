# SPDX-License-Identifier: MIT
"""`bundle --build`: puts what emulator-test would boot into one file, without a run.

The same command on the same source gives the same bytes on every machine: the file does not say on
which one it was made, and its name does not count.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.filesize import decimal

from harness.build import equipment
from harness.bundle import archive as bundle_archive
from harness.bundle import built, pack
from harness.bundle.manifest import SCHEMA_BUILT, Manifest, Place
from harness.bundle.scrub import places_of, scrubbed_words
from harness.core.cache import file_sha256
from harness.core.errors import UsageError
from harness.core.text import visible
from harness.jobs.options import BuildOptions
from harness.machine import qemu
from harness.targets.model import QemuMachine
from harness.ui.workspace import Workspace


def run(
    ws: Workspace, options: BuildOptions, output: Path | None = None, result: Path | None = None
) -> Path:
    """Build what is not up to date, and write its bundle; return the file.

    The default for `output` is in the working directory, named after the kernel and its release.
    Raise UsageError for an Android Emulator, for an `output` that is no place for a file, and if
    the user also named a `result`, which is of a run. Errors of building pass through.
    """
    if result is not None:
        raise UsageError(f"--build packs no run, so not {result}", hint="only one of them")
    target = options.target
    machine = target.machine
    if not isinstance(machine, QemuMachine):
        raise UsageError(
            "an Android Emulator boots a system image that is not ours to hand on",
            hint="--emulator qemu",
        )
    if output is not None:
        pack.check_output(output, f"{target.name}{pack.SUFFIX}")
    equipped = equipment.build(ws, target, options.source, options.patches, options.config)
    files, kernel = equipped.bootable, built.kernel_of(equipped.kernel)
    command = options.at_commit(kernel.commit).command()
    places = places_of((*command, kernel.origin, kernel.repository or ""))
    file = output or Path(f"{target.name}-{files.release}{pack.SUFFIX}")
    pack.check_output(file, f"{target.name}{pack.SUFFIX}")
    with ws.reporter.phase("bundle"):
        contents = {name: path.read_bytes() for name, path in built.members_of(files)}
        manifest = Manifest(
            schema=SCHEMA_BUILT,
            run="",
            command=tuple(visible(word) for word in scrubbed_words(command, places)),
            scenarios=None,
            rounds=None,
            place=Place(target.name, target.emulator, target.debug),
            machine=machine,
            arguments=qemu.kernel_command_line(machine),
            qemu="",
            kernel=pack.public_kernel(kernel, places),
            packages=files.packages,
            # Without a commit: a commit that changes no file of it would give other bytes.
            harness=built.this_harness(),
            original=None,
            members=pack.members_of(contents),
        )
        bundle_archive.pack(manifest, contents, file)
    ws.reporter.say(f"to boot it: ./inv emulator-test --bundle {shlex.quote(str(file))}")
    size = decimal(file.stat().st_size)
    ws.reporter.result(f"{file}: {size}, SHA-256 {file_sha256(file)}")
    return file
