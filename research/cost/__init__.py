"""Where the time of a training step goes, and how that of the encoders grows with length."""
