# SPDX-License-Identifier: MIT
"""Files that pages are made from, and the pages themselves."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from harness.core.cache import disk_full_named
from harness.core.errors import InfrastructureError


def read_text(path: Path) -> str | None:
    """Return a file's text, with bytes that are not UTF-8 escaped; None if there is no file."""
    try:
        return path.read_bytes().decode(errors="backslashreplace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InfrastructureError(f"{path} cannot be read: {error.strerror}") from error


def replace_file(path: Path, text: str) -> Path:
    """Replace a file atomically, so that two runs that end at once do not mix."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        with disk_full_named(path.parent):
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
    except OSError as error:
        raise InfrastructureError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path
