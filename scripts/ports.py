"""Ports for servers that are told their number, and that may go and come again under it."""

from __future__ import annotations

import random
import socket

# Below the range the kernel gives connections their ports from (Linux begins at 32768): one from there is soon
# somebody else's while its server is down.
RANGE = range(12_000, 32_000)
TRIES = 100


def free_port() -> int:
    """A port nobody listens on."""
    for port in random.sample(RANGE, TRIES):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise OSError(f"no free port of {TRIES} tried in {RANGE}")
