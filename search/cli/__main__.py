"""`python -m lstm_sweep.search.cli`: the command line."""

import sys

from lstm_sweep.search.cli.main import main

sys.exit(main())
