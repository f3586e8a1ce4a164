# SPDX-License-Identifier: MIT
"""Every way in which a run can fail, one class per kind of failure.

An error is a short text for a person: what failed, the last lines of the log that shows why,
where the whole log is, and what to try. The class determines the exit status: 1 the kernel did
the wrong thing, 2 wrong usage, 3 infrastructure (a tool, a download, a boot).
"""

from __future__ import annotations

import errno
from pathlib import Path

EXIT_PASSED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INFRASTRUCTURE = 3
EXIT_INTERRUPTED = 130

# The system's errors for a full disk, and for a place where the user may not write.
NO_PLACE = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class HarnessError(Exception):
    """A failure that the harness understands and can explain.

    `message` says in one line what failed. `hint` says what to try. `log` is the whole log, and
    `tail` its last lines.
    """

    exit_status = EXIT_INFRASTRUCTURE

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        log: Path | None = None,
        tail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log
        self.tail = tail

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  | {line}" for line in self.tail.splitlines()]
        if self.log is not None:
            lines.append(f"  whole log: {self.log}")
        if self.hint:
            lines.append(f"  try: {self.hint}")
        return "\n".join(lines)


class UsageError(HarnessError):
    """The caller asked for something that does not exist or makes no sense."""

    exit_status = EXIT_USAGE


class VerdictError(HarnessError):
    """The kernel, or a check that the user asked for, did not pass."""

    exit_status = EXIT_FAILED


class InfrastructureError(HarnessError):
    """Something around the test failed; nothing is known about the kernel."""


class ToolMissingError(InfrastructureError):
    """A program that the harness runs is not installed."""


class CommandError(InfrastructureError):
    """A program that the harness ran ended with a status that means failure."""


class DiskFullError(InfrastructureError):
    """No space was left where the cache, the build or the results are."""


class RunEndedError(InfrastructureError):
    """The run was stopped while this thread waited for a program, a lock or a machine."""


class SourceError(InfrastructureError):
    """A kernel source or a package could not be obtained, or is not what it should be."""


class SourceMovedError(SourceError):
    """A folder that a source is taken from was changed while it was read."""


class DownloadError(SourceError):
    """A file from an archive could not be downloaded, or differs from what the archive lists."""


class PatchError(InfrastructureError):
    """A patch of the series does not apply."""


class KconfigError(InfrastructureError):
    """Kconfig dropped or changed a line that the fragment asked for."""


class BuildError(InfrastructureError):
    """A compiler or make failed, or its output is not what it should be."""


class BootError(InfrastructureError):
    """A kernel did not come up, or went down before it was asked to."""


class DeviceError(InfrastructureError):
    """adb, or the device behind it, did not do what was asked."""


class MachineKilledError(DeviceError):
    """Somebody ended or stopped the machine from outside."""
