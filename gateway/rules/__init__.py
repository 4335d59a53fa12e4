"""Rules: from readings to observations. Pure."""

from gateway.rules.machine import (
    NEVER,
    QUIET,
    Origin,
    RuleState,
    ThresholdRule,
    bounds,
    combine,
    step,
)

__all__ = ["NEVER", "QUIET", "Origin", "RuleState", "ThresholdRule", "bounds", "combine", "step"]
