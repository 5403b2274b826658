"""Forms of text, words in any script, tokenizers, and tries of letters."""
