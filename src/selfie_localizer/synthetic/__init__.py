"""The renderer of the sample."""
