"""Checks of manifests: recordings, texts, outliers, and overlap between splits."""
