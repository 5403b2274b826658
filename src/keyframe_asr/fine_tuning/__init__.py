"""Fine-tune a model on someone's own recordings."""
