"""Forms of text, words in any script, numbers, tokenizers, and tries of letters."""
