"""Prometheus metrics: a registry a process owns, served where it is asked to."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, start_http_server


def serve_metrics(registry: CollectorRegistry, port: int, address: str = "127.0.0.1") -> None:
    """Serve ``/metrics`` on a port of its own (0: not at all), in a daemon thread."""
    if port:
        start_http_server(port, addr=address, registry=registry)
