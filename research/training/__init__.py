"""Training studies: variants of a recipe that are trained and measured in the same way."""
