"""Exit codes of the program."""

DONE = 0
#: something unexpected, or a sweep without a result
FAILED = 1
#: what was given cannot be used
BAD_INPUT = 2
#: a rerun came out different
DIFFERENT = 3
INTERRUPTED = 130
