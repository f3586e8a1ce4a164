# SPDX-License-Identifier: MIT
"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import socket

from harness.core.errors import InfrastructureError

LOOPBACK = "127.0.0.1"
# Another program may take a port between its choice and its use. Losing that race this often in
# a row is no longer chance.
PORT_ATTEMPTS = 5


def check_loopback() -> None:
    """Raise InfrastructureError if there is no loopback network: adb could not reach a guest."""
    try:
        free_port()
    except OSError as failed:
        raise InfrastructureError(
            f"no server can listen on {LOOPBACK}: {failed.strerror}", hint="ip link set lo up"
        ) from failed


def free_port() -> int:
    """Return a port that no program listens on now. It may be taken before it is used."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
    return port
