"""The network, every part a module of its own; none knows labels, text, files or devices."""
