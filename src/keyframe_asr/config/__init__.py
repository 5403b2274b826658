"""Everything that defines a run or a stored model, as strict data."""
