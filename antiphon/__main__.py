"""Lets `python -m antiphon` do what the command `antiphon` does."""

import sys

from antiphon.cli import main

if __name__ == "__main__":
    sys.exit(main())
