"""The neural network. Its modules do not depend on labels, text, files or devices."""
