"""Training: one loop that runs the list of stages of a recipe."""
