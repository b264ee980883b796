"""Whoever says where the face is on an image, and the stage that asks them."""
