"""The same search as users of other programs would write it, a script for each program."""
