"""Selfies in, arrays out."""
