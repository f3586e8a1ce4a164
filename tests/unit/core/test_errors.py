# SPDX-License-Identifier: MIT
"""Errors are short texts with an exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import errors


def test_text_has_message_tail_log_and_hint_in_that_order() -> None:
    error = errors.BuildError("it broke", hint="mend it", log=Path("/l/og"), tail="one\ntwo")
    assert str(error).splitlines() == [
        "it broke",
        "  | one",
        "  | two",
        "  whole log: /l/og",
        "  try: mend it",
    ]
    assert str(errors.SourceError("no source")) == "no source"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.VerdictError, 1),
        (errors.UsageError, 2),
        (errors.HarnessError, 3),
        *((error, 3) for error in errors.InfrastructureError.__subclasses__()),
    ],
)
def test_status_belongs_to_the_class(error: type[errors.HarnessError], status: int) -> None:
    assert error("x").exit_status == status
