"""Cost studies: time of a training step by component, and of the encoders by length."""
