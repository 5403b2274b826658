"""Audio: reading, features, noise, room simulation, loudness and voice activity detection."""
