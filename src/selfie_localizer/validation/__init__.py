"""The rules that rows must keep, and the stage that puts the others in quarantine."""
