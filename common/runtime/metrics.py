"""Prometheus metrics: a registry a process owns, served where it is asked to."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, start_http_server

from common.runtime.errors import ConfigError

LOOPBACK = "127.0.0.1"


def serve_metrics(registry: CollectorRegistry, port: int, host: str = LOOPBACK) -> None:
    """Serve ``/metrics`` on a port of its own (0: not at all), in a daemon thread.

    Args:
        registry: what to serve.
        port: the TCP port.
        host: the address to listen on; whoever reaches another than the loopback's can read the metrics.

    Raises:
        ConfigError: ``metrics.no_port`` when it cannot listen there.
    """
    if not port:
        return
    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ConfigError(
            "metrics.no_port",
            f"expected to serve metrics on {host}:{port}, got: {error.strerror}",
            "end what listens there, or choose another place: --metrics-port PORT",
        ) from error
