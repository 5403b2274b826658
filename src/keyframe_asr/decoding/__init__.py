"""From log-probabilities to tokens: greedy and beam search, rescoring, time stamps."""
