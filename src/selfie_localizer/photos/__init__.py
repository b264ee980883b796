"""From a photo's bytes to pixels."""
