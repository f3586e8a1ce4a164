# SPDX-License-Identifier: MIT
"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"
# Between the choice of a port and its use somebody else may take it. To lose
# that race so often in a row is no longer chance.
PORT_ATTEMPTS = 5


def free_port() -> int:
    """A port that nobody listens on now. It may be taken before it is used."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
    return port
