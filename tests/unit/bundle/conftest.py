# SPDX-License-Identifier: MIT
"""What the tests of bundles share."""

from __future__ import annotations

import bundles
import pytest

from harness.machine import qemu


@pytest.fixture(autouse=True)
def _known_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles are made where no QEMU is installed, too."""
    monkeypatch.setattr(qemu, "version", lambda _: bundles.QEMU)
