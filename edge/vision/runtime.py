"""onnxruntime, told to keep to itself.

Its packages (1.31 does) describe the machine and what runs on it in `~/.cache/Microsoft` and send that to their
maker; importing it is enough, and `disable_telemetry_events()` comes too late. Only the environment, before the
import, says no. A box that looks at streets talks to its gateway alone: import `ort` from here, never by itself.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

__all__ = ["ort"]
