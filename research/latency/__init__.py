"""Studies of error against latency."""
