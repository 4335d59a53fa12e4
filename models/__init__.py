"""Where the ONNX models come from, what each one expects, and how good each one is."""
