"""How good the models are, measured with onnxruntime alone; a module for each, all of them in docs/accuracy.md."""
