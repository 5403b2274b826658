"""`fine-tuning` studies."""
