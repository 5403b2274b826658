"""Export of models to ONNX, and its verification."""
