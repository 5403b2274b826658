"""N-gram language models: estimation from text, ARPA files, batched lookup, scorers."""
