"""The command line: arguments in, one call, text or JSON out."""

from lstm_sweep.search.cli.main import main

__all__ = ["main"]
