"""From PyTorch to ONNX, with proof that both say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.runtime.errors import InvalidError
from models.runtime import open_session

OPSET = 17
#: The largest difference that is rounding and not a mistake; outputs are probabilities.
_ROUNDING = 1e-4


class WithPixels(nn.Module):
    """A network that takes pixels as they are (0..255, RGB) and gives probabilities: nothing to get wrong outside."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        """``(N, 3, H, W)`` float32 in 0..255 to what the network says, through a sigmoid."""
        return torch.sigmoid(self.net(pixels / 127.5 - 1.0))


def export(net: nn.Module, path: Path, shape: tuple[int, int, int, int], examples: Tensor) -> float:
    """Write a network to a file, and compare what onnxruntime makes of it with what PyTorch made.

    Args:
        net: gives logits.
        path: the ONNX file.
        shape: of its input; the first number may vary where it is 0.
        examples: real pictures, float32 ``(N, 3, H, W)`` in 0..255.

    Returns:
        The largest difference between the two over the examples.

    Raises:
        InvalidError: ``model.parity`` when that is more than rounding.
    """
    whole = WithPixels(net.eval()).eval()
    batch = shape[0] == 0
    torch.onnx.export(
        whole,
        (torch.zeros((1, *shape[1:])),),
        str(path),
        input_names=["pixels"],
        output_names=["probability"],
        dynamic_axes={"pixels": {0: "batch"}, "probability": {0: "batch"}} if batch else None,
        opset_version=OPSET,
        dynamo=False,
    )
    return compare(whole, path, examples)


def compare(whole: nn.Module, path: Path, examples: Tensor) -> float:
    """The largest difference between what onnxruntime makes of a file and what PyTorch makes of the network.

    Args:
        whole: takes pixels, as the file's only input does.
        path: the ONNX file.
        examples: real pictures, float32 ``(N, 3, H, W)`` in 0..255.

    Raises:
        InvalidError: ``model.parity`` when it is more.
    """
    session = open_session(path, threads=1)
    worst = 0.0
    with torch.no_grad():
        for example in examples.split(1):
            expected = whole(example).numpy()
            found = session.run(None, {"pixels": example.numpy()})[0]
            worst = max(worst, float(np.abs(expected - found).max()))
    return agreeing(worst)


def agreeing(difference: float) -> float:
    """The difference, if it is rounding; raises InvalidError ``model.parity`` when it is more."""
    if not difference <= _ROUNDING:
        raise InvalidError(
            "model.parity",
            f"expected onnxruntime to agree with the trainer within {_ROUNDING}, they differ by {difference:.2g}",
            "an operator was exported wrongly: look for resizing and padding first",
        )
    return difference
