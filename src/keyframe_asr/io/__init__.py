"""Input and output: atomic writing, model folders, pretrained sources and malloc settings."""
