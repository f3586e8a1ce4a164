# SPDX-License-Identifier: MIT
"""What all tests share: one that is told to stop ends what it started; GitHub hears nothing.

Files are read as UTF-8, here and in the Pythons that tests start.
"""

from __future__ import annotations

import io
import locale
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings
from stand_ins import workspace

from harness.ui.workspace import Workspace

# An example takes as long as the host is busy.
_ANY_HOST = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Each run makes up other examples; `--hypothesis-profile many` takes its time for them.
settings.register_profile("few", _ANY_HOST, max_examples=25)
settings.register_profile("many", _ANY_HOST, max_examples=1000)
settings.load_profile("few")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    """Makes SIGTERM, which `./inv test` sends, end the tests as Ctrl-C does: with clean-up.

    A shell has its background jobs ignore SIGINT, and nohup SIGHUP; so would
    what a test starts and ends.
    """
    del config
    if not sys.flags.utf8_mode and locale.getencoding().lower() != "utf-8":
        raise pytest.UsageError("the locale is not UTF-8: ./inv unit-test, or PYTHONUTF8=1")
    os.environ["PYTHONUTF8"] = "1"
    # A test that calls a task makes no room in the cache of whoever runs the tests.
    os.environ["INVOKE_GOLDFISH_OOM_CACHE_GIB"] = "0"
    # What a test makes goes where the test says, or else where it always does.
    os.environ.pop("INVOKE_GOLDFISH_OOM_RESULTS", None)
    # What a test's run finds is no finding of the job that the tests are.
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def said() -> io.StringIO:
    """What was said to the user."""
    return io.StringIO()


@pytest.fixture
def ws(tmp_path: Path, said: io.StringIO) -> Workspace:
    return workspace(tmp_path / "cache", said)
