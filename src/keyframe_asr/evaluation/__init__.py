"""Evaluation of models: error rates, calibration, hallucinations, word times, inspection."""
