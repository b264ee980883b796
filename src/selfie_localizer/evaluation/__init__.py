"""Scores and pictures of trained localizers on the test split."""
