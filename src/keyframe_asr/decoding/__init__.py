"""Decoding of log-probabilities into tokens: greedy and beam search, rescoring, timestamps."""
