"""A box as ``drumtower edge run`` runs it, but for its clock, which can be set from outside.

The agent takes every instant from the clock that it is given, so nothing in it differs. What stays right is what the
libraries ask the machine for: whether a certificate is still valid.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.chaos.clock import MovedClock
from common.runtime.log import configure_logging
from common.runtime.stop import Stop
from edge.app import Agent
from edge.config import load_device
from edge.room import when_there_is_room


def main() -> None:
    """Run the box of a configuration: CONFIG DATA CLOCK."""
    config, data, clock = map(Path, sys.argv[1:4])
    configure_logging("edge")
    stop, device = Stop().on_signals(), load_device(config)
    agent = when_there_is_room(lambda: Agent(device, config, data, os.environ, MovedClock(clock)), stop)
    if agent is not None:
        agent.run(stop)


if __name__ == "__main__":
    main()
