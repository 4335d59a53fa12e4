"""What sensors may measure here: the metrics that boxes and gateways agree on, and what a district adds to them.

A metric that nobody declared is not stored as a reading: its unit, and so its meaning, would be a guess. It is
kept as a reject that can be retried once the metric is declared under ``metrics`` in ``gateway.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.wire.metrics import DECLARED, Metric

__all__ = ["DECLARED", "Metric", "catalogue"]


def catalogue(extra: Iterable[Metric] = ()) -> dict[str, Metric]:
    """All metrics by name; one of ``extra`` replaces the built-in one of its name."""
    return {metric.name: metric for metric in (*DECLARED, *extra)}
