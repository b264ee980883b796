"""Fitting, tuning and resuming."""
