"""Imported first by the process that workers are forked from: what it prints goes nowhere."""

from lstm_sweep.search.process.output import mute

mute()
