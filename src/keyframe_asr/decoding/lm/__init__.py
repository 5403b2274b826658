"""N-gram language models: estimated from text, kept as ARPA files, looked up by batches."""
