"""Promotion, rollback and the served model."""
