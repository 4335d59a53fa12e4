"""Rules: from readings to observations. Pure; ``Watch`` steps them all over a batch, vectorised."""

from gateway.rules.kinds import CombinationRule, Rule, SilenceRule, ThresholdRule
from gateway.rules.machine import (
    NEVER,
    QUIET,
    Origin,
    RuleState,
    bounds,
    combine,
    step,
)

__all__ = [
    "NEVER",
    "QUIET",
    "CombinationRule",
    "Origin",
    "Rule",
    "RuleState",
    "SilenceRule",
    "ThresholdRule",
    "bounds",
    "combine",
    "step",
]
