"""Variants of a recipe, trained alike and measured alike."""
