"""The network on streams, on arrays: what is certain, what waits, and what is kept."""
