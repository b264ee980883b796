"""Errors that a user can cause; each is one line that says what is wrong, where, and what to do."""


class UserError(Exception):
    """Something the user can mend. The command prints the message and exits with `exit_code`."""

    exit_code = 1


class UsageError(UserError):
    """Wrong usage or parameters."""

    exit_code = 2
