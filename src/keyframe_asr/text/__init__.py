"""Forms of text, tokenizers and scripts."""
