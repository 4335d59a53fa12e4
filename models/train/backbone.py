"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381) for PyTorch, beginning from the weights of the street detector.

Two cores do not train a picture model from nothing. The detector that ships has learnt edges, heads, wheels and
roads from 118,000 photos, and its licence (Apache-2.0) lets its layers be built upon, so every model that is
trained here begins from them. Batch normalisation is folded into the convolutions, as it is in the ONNX file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from common.runtime.errors import InvalidError


class _Block(NamedTuple):
    expand: int
    channels: int
    stride: int


#: Expansion, channels, stride of the seventeen inverted residuals.
BLOCKS: Final = (
    _Block(1, 16, 1),
    *(_Block(6, 24, stride) for stride in (2, 1)),
    *(_Block(6, 32, stride) for stride in (2, 1, 1)),
    *(_Block(6, 64, stride) for stride in (2, 1, 1, 1)),
    *(_Block(6, 96, stride) for stride in (1, 1, 1)),
    *(_Block(6, 160, stride) for stride in (2, 1, 1)),
    _Block(6, 320, 1),
)
_SCOPE: Final = "FeatureExtractor/MobilenetV2/"


class Convolution(nn.Module):
    """A convolution with TensorFlow's "same" padding, and ReLU6 unless told otherwise.

    With a stride of 2 even sizes are padded on the far side only, which is what the weights were trained with.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1, *, bend: bool = True
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, size, stride, padding=0, groups=groups)
        self._size, self._stride, self._bend = size, stride, bend

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, outputs, ceil(H / stride), ceil(W / stride))``."""
        if self._size == 3:
            left, top = (int(self._stride == 1 or length % 2) for length in (x.shape[3], x.shape[2]))
            x = functional.pad(x, (left, 1, top, 1))
        x = self.convolution(x)
        return functional.relu6(x) if self._bend else x


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes allow it."""

    def __init__(self, inputs: int, block: _Block) -> None:
        super().__init__()
        wide = inputs * block.expand
        self.expand = Convolution(inputs, wide, 1) if block.expand > 1 else nn.Identity()
        self.filter = Convolution(wide, wide, 3, block.stride, groups=wide)
        self.project = Convolution(wide, block.channels, 1, bend=False)
        self._residual = block.stride == 1 and inputs == block.channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, channels, H / stride, W / stride)``."""
        y: Tensor = self.project(self.filter(self.expand(x)))
        return x + y if self._residual else y


class Backbone(nn.Module):
    """The first ``blocks`` inverted residuals. Pictures are RGB in -1..1."""

    def __init__(self, blocks: int = 13) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        widths = [32, *(block.channels for block in BLOCKS)]
        self.blocks = nn.ModuleList(
            InvertedResidual(widths[number], BLOCKS[number]) for number in range(blocks)
        )
        self.channels = widths[blocks]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The last features of each stride that is reached: 2, 4, 8, 16, 32."""
        x = self.stem(x)
        levels: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            if BLOCKS[number].stride == 2:
                levels.append(x)
            x = block(x)
        return [*levels, x]


def load_street_weights(backbone: Backbone, path: Path) -> None:
    """Give a backbone the street detector's weights.

    Args:
        backbone: changed in place.
        path: the detector's ONNX file.

    Raises:
        InvalidError: ``model.backbone`` when the file holds no MobileNetV2 of this shape.
    """
    weights = _Weights(path)
    try:
        weights.into(backbone.stem, "Conv")
        for number, block in enumerate(backbone.blocks):
            scope = "expanded_conv" if number == 0 else f"expanded_conv_{number}"
            assert isinstance(block, InvertedResidual)
            if isinstance(block.expand, Convolution):
                weights.into(block.expand, f"{scope}/expand")
            weights.into(block.filter, f"{scope}/depthwise")
            weights.into(block.project, f"{scope}/project")
    except (KeyError, RuntimeError) as error:
        raise InvalidError(
            "model.backbone",
            f"expected the layers of MobileNetV2 in {path}, got: {error}",
            "take the street detector that ships with drumtower",
        ) from error


class _Weights:
    """Kernels and biases of an exported MobileNetV2 by scope, with what the exporter left beside them folded in."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path)).graph
        self._constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._convolutions = {
            scope: node
            for node in graph.node
            if node.op_type == "Conv" and (scope := self._scope(node)) is not None
        }

    def into(self, layer: nn.Module, scope: str) -> None:
        """Copy the kernel and bias of a scope into a layer."""
        assert isinstance(layer, Convolution)
        node = self._convolutions[scope]
        kernel = self._constants[node.input[1]].astype(np.float32)
        bias = (
            self._constants[node.input[2]].astype(np.float32).ravel()
            if len(node.input) > 2
            else np.zeros(len(kernel), np.float32)
        )
        kernel, bias = self._fold(node.output[0], kernel, bias)
        with torch.no_grad():
            layer.convolution.weight.copy_(torch.from_numpy(kernel))
            assert layer.convolution.bias is not None
            layer.convolution.bias.copy_(torch.from_numpy(bias))

    def _fold(
        self, output: str, kernel: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scales and shifts by constants that follow a convolution become part of it."""
        while True:
            followers = self._readers.get(output, ())
            if len(followers) == 1 and followers[0].op_type == "Sum":
                # The exporter adds the input of a residual first, and the shift after it.
                output = followers[0].output[0]
                continue
            follower = next(iter(followers), None)
            if follower is None or follower.op_type not in ("Mul", "Add"):
                return kernel, bias
            constant = next(
                (self._constants[name] for name in follower.input if name in self._constants), None
            )
            if constant is None:
                return kernel, bias
            if follower.op_type == "Mul":
                scale = constant.astype(np.float32).ravel()
                kernel, bias = kernel * scale.reshape(-1, 1, 1, 1), bias * scale
            else:
                bias = bias + constant.astype(np.float32).ravel()
            output = follower.output[0]

    def _scope(self, node: onnx.NodeProto) -> str | None:
        """Which layer a convolution is: its kernel, its own name or what follows it says so."""
        names = [node.name, node.input[1], *(node.input[2:3]), node.output[0]]
        names += [follower.name for follower in self._readers.get(node.output[0], ())]
        for name in names:
            if name.startswith(_SCOPE):
                parts = name[len(_SCOPE) :].split("/")
                return parts[0] if parts[0] == "Conv" else "/".join(parts[:2])
        return None
