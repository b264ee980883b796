"""Pixels of rendered selfies with exact boxes: a package of its own, which knows nothing of localizing faces."""
