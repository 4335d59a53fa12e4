"""onnxruntime as the models' own runtime gives it: told to keep to itself."""

from models.runtime import ort

__all__ = ["ort"]
