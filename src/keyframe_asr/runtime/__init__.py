"""Runs exported models with NumPy and ONNX Runtime; never imports torch."""
