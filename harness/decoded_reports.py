# SPDX-License-Identifier: MIT
"""What the guests' kernels said of their own mistakes, with the places in the source."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from harness.errors import InfrastructureError
from harness.kernel_reports import find_reports
from harness.kernel_symbols import Decoder
from harness.summary import GuestReport


def find(
    consoles: Mapping[int, Path], vmlinux: Path | None, cross_compile: str
) -> tuple[GuestReport, ...]:
    """The reports on the consoles, by guest, which have also what a dying kernel said last.

    For `vmlinux` and `cross_compile` see Decoder. A report whose addresses cannot be
    found is as it came.
    """
    found = [
        GuestReport(guest, report.kind, report.title, report.text)
        for guest, console in consoles.items()
        if console.is_file()
        for report in find_reports(console.read_text(encoding="utf-8", errors="replace"))
    ]
    if not found or vmlinux is None:
        return tuple(found)
    with suppress(InfrastructureError):
        decoder = Decoder(vmlinux, cross_compile)
        return tuple(
            GuestReport(one.guest, one.kind, one.title, decoder.decode(one.text)) for one in found
        )
    return tuple(found)
