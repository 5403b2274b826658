"""Scoring recognised text against references."""
