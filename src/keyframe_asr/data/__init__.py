"""Data: corpora, manifests, augmentation, features and batches."""
