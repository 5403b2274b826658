"""Files: atomic writing, model folders and the memory of the process."""
