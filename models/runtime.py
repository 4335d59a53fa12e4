"""onnxruntime, told to keep to itself.

Its packages (1.31 does) describe the machine and what runs on it in `~/.cache/Microsoft` and send that to their
maker; importing it is enough, and `disable_telemetry_events()` comes too late. Only the environment, before the
import, says no. A box that looks at streets talks to its gateway alone: import `ort` from here, never by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from common.runtime.errors import InvalidError

__all__ = ["UNFIT", "open_session", "ort"]

_state = ort.capi.onnxruntime_pybind11_state
UNFIT = (
    _state.EPFail,
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NotImplemented,
    _state.RuntimeException,
)
"""What onnxruntime says of a file that it cannot open, or cannot run on what it is given; which of them, depends on
the operator that stumbles. They have nothing in common but their names."""


def open_session(path: Path, threads: int, *, lean: bool = False) -> ort.InferenceSession:
    """A session on the CPU.

    Args:
        path: the ONNX file.
        threads: of its work, the caller's own included.
        lean: takes little memory and gives it back after each run, which takes a fifth longer: for models that are
            asked once in an hour.

    Raises:
        InvalidError: ``model.broken`` when the file is no ONNX model that this onnxruntime knows.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Workers spin within a run, which makes small steps fast, but not between runs: the core is wanted.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if lean:
        # An arena grows by doubling and keeps all it ever had. Without it, a run's one planned block goes back whole.
        options.enable_cpu_mem_arena = False
        # What is optimised further, layers laid out for one processor, is there twice during a run.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except UNFIT as error:
        raise InvalidError(
            "model.broken",
            f"expected an ONNX model in {path}, got: {error}",
            "export it again, with operators this onnxruntime knows",
        ) from error
