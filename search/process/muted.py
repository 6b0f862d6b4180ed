"""Discards the output of the process that imports it: the forkserver does so first."""

from lstm_sweep.search.process.scoped import mute

mute()
