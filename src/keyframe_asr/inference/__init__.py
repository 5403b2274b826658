"""Recognition of recordings with a stored model."""
