"""How many bytes a system has received and sent, over all its connections, those that have ended included."""

from __future__ import annotations

from trioactor import ActorSystem


def traffic_of(system: ActorSystem) -> tuple[int, int]:
    """Return bytes received and bytes sent since the system began, as on the wire before TLS."""
    counts = system.network_counts
    received, sent = counts.received, counts.written
    for link in system.links:
        connection = link.connection
        if connection is not None and not connection.ended.is_set():
            received += connection.received
            sent += connection.writer.written
    return received, sent
