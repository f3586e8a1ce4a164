# SPDX-License-Identifier: MIT
"""Where a scheduler is, and the files with which its cluster is encrypted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import UsageError


@dataclass(frozen=True)
class Tls:
    """The files for an encrypted cluster: all of them, or none."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that configure a worker's process so."""
        return {
            f"INVOKE_GOLDFISH_OOM_TLS_{name}": value
            for name, value in (("CA", self.ca), ("CERT", self.cert), ("KEY", self.key))
        }


NO_TLS = Tls()


def checked(address: str, tls: Tls) -> str:
    """Return a scheduler's address. Raise UsageError if it is none, or TLS does not fit it."""
    scheme, found, rest = address.rpartition("://")
    scheme = scheme if found else "tcp"
    host, _, port = rest.rpartition(":")
    is_port = re.fullmatch("[0-9]{1,5}", port) is not None and int(port) < 1 << 16
    is_host = bool(host) and host.startswith("[") == host.endswith("]")
    if scheme not in ("tcp", "tls") or not is_host or not is_port:
        raise UsageError(f"not a scheduler's address: {address}", hint="tcp://HOST:PORT")
    files = (tls.ca, tls.cert, tls.key)
    if scheme == "tls" and not all(files):
        hint = "set tls_ca, tls_cert and tls_key in the configuration"
        raise UsageError("tls:// needs the files of a certificate", hint=hint)
    if scheme == "tcp" and any(files):
        hint = f"tls://{rest}, or empty tls_ca, tls_cert and tls_key"
        raise UsageError(f"TLS is configured, and tcp://{rest} has none", hint=hint)
    for file in filter(None, files):
        if not Path(file).is_file():
            raise UsageError(f"there is no file {file}", hint="tls_ca, tls_cert, tls_key")
    return f"{scheme}://{rest}"
