"""`python -m lstm_sweep`: the command line, where the script `lstm-sweep` is not installed."""

from __future__ import annotations

import sys

from lstm_sweep.search.cli import main

if __name__ == "__main__":
    sys.exit(main())
