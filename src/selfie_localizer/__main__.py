"""Lets `python -m selfie_localizer` do what the console script does."""

from selfie_localizer.cli import main

if __name__ == "__main__":
    main()
