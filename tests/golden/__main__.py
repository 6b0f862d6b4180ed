"""Compares what the program does with the records in this folder, or writes them anew.

python -m tests.golden            fails where something differs
python -m tests.golden --write    takes what the program does now; `git diff` shows what changed
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from tests.golden.records import WRITE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden")
    parser.add_argument("--write", action="store_true", help="write the records anew")
    if parser.parse_args().write:
        os.environ[WRITE] = "1"
    return pytest.main(
        ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(Path(__file__).parent)]
    )


if __name__ == "__main__":
    sys.exit(main())
