"""Speech that is made on the spot by a speech synthesiser."""
