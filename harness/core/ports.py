# SPDX-License-Identifier: MIT
"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import socket

from harness.core.errors import InfrastructureError

LOOPBACK = "127.0.0.1"
# Between the choice of a port and its use somebody else may take it. To lose
# that race so often in a row is no longer chance.
PORT_ATTEMPTS = 5


def check_loopback() -> None:
    """Raises InfrastructureError where adb could not reach a guest: no loopback network."""
    try:
        free_port()
    except OSError as failed:
        raise InfrastructureError(
            f"no server can listen on {LOOPBACK}: {failed.strerror}", hint="ip link set lo up"
        ) from failed


def free_port() -> int:
    """A port that nobody listens on now. It may be taken before it is used."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
    return port
