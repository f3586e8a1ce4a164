# SPDX-License-Identifier: MIT
"""A plugin of pytest: boot tests that fail for their surroundings say nothing about the kernel.

If each failure is a tool's, a build's, a disk's, a boot's, or that the machine was killed, pytest
ends with status 3, not 1. A kernel that goes down in a test is a failure of the kernel, and so is a
command on the device that fails, or does not end: the kernel may have refused or stalled it.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness.core.errors import (
    NO_PLACE,
    BootError,
    DeviceError,
    InfrastructureError,
    MachineKilledError,
)

STATUS = 3
_NAME = "nothing is known about the kernel"


class NothingKnown:
    """Collects why tests failed, also those that workers of pytest-xdist ran."""

    def __init__(self) -> None:
        self._about: list[str] = []
        self._kernel_failed = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note in the report of a failure what it says, if that is nothing about the kernel."""
        report = yield
        if report.failed and call.excinfo is not None and _is_about_others(call.excinfo.value):
            report.user_properties.append((_NAME, call.excinfo.exconly().splitlines()[0]))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a failure."""
        if report.failed:
            found = [str(why) for name, why in report.user_properties if name == _NAME]
            self._about += found
            self._kernel_failed |= not found

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Change the status of the run; see the module."""
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED and self._is_nothing_known:
            session.exitstatus = STATUS

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Say last, below pytest's own summary, why nothing is known."""
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if self._is_nothing_known and reporter is not None:
            reporter.write_line(f"{_NAME}: {self._about[0]}")

    @property
    def _is_nothing_known(self) -> bool:
        return bool(self._about) and not self._kernel_failed


def _is_about_others(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in NO_PLACE
    if isinstance(error, BootError | DeviceError):
        return isinstance(error, MachineKilledError)
    return isinstance(error, InfrastructureError)
