"""A trained localizer as others use it: exported, logged, served, found again."""
