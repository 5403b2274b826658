"""Sound: reading and writing recordings, features, noise, rooms, loudness, voice activity."""
