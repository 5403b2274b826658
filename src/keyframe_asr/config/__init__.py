"""Configuration of training runs and stored models."""
