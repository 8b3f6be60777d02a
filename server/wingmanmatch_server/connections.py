"""What one connection may cost the server: gRPC's own limits, which hold before Python sees a call."""

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of clients' connections, of which there may be `max_connections`; times in seconds, sizes in bytes.

    A connection is told to go after `max_age`; its calls then have `age_grace` to end, and are cut. One without calls
    is closed after `max_idle`, one that has not begun to speak HTTP/2, or has not acknowledged the server's SETTINGS,
    after `handshake_timeout`: until then a client need not know of the limits below. A silent client is asked for a
    sign of life after `keepalive_time` and closed if none comes in `keepalive_timeout`. A client may itself ask every
    `min_ping_interval`, calls or none; one that keeps asking sooner is sent away.

    `max_streams` calls may be open at a time; a client that knows the protocol waits with more. Above `soft_metadata`
    headers are the likelier refused the larger they are, and above `max_metadata` always.
    """

    max_age: float = 600.0
    age_grace: float = 120.0
    max_idle: float = 300.0
    handshake_timeout: float = 5.0
    keepalive_time: float = 60.0
    keepalive_timeout: float = 10.0
    min_ping_interval: float = 10.0
    max_connections: int = 10_000
    max_streams: int = 100
    # Calls that gRPC has and Python has not begun: above this it answers some by CANCELLED, which no client repeats.
    max_waiting: int = 5000
    max_request: int = 1024 * KIB
    # What a gRPC client takes by default: a larger response is refused here rather than there.
    max_response: int = 4096 * KIB
    soft_metadata: int = 8 * KIB
    max_metadata: int = 16 * KIB

    def channel_arguments(self) -> tuple[tuple[str, int], ...]:
        """Return them as gRPC takes them, which ignores a name that it does not know."""
        return (
            # Two servers would share one port silently, and connections could not be drained.
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", _milliseconds(self.max_age)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(self.age_grace)),
            ("grpc.max_connection_idle_ms", _milliseconds(self.max_idle)),
            ("grpc.server_handshake_timeout_ms", _milliseconds(self.handshake_timeout)),
            ("grpc.keepalive_time_ms", _milliseconds(self.keepalive_time)),
            ("grpc.keepalive_timeout_ms", _milliseconds(self.keepalive_timeout)),
            ("grpc.http2.ping_timeout_ms", _milliseconds(self.keepalive_timeout)),
            ("grpc.http2.settings_timeout", _milliseconds(self.handshake_timeout)),
            ("grpc.max_allowed_incoming_connections", self.max_connections),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(self.min_ping_interval)),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.max_concurrent_streams", self.max_streams),
            # gRPC also counts calls that ended but are not yet taken apart. Without room for those, a client that keeps
            # as many open as it may has some refused, two of a hundred, and does not try them again.
            ("grpc.http2.max_deallocating_streams", 10 * self.max_streams),
            ("grpc.server.max_pending_requests", self.max_waiting),
            ("grpc.server.max_pending_requests_hard_limit", 2 * self.max_waiting),
            ("grpc.max_receive_message_length", self.max_request),
            ("grpc.max_send_message_length", self.max_response),
            ("grpc.max_metadata_size", self.soft_metadata),
            ("grpc.absolute_max_metadata_size", self.max_metadata),
        )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
