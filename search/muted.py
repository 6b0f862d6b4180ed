"""Imported first by the process that workers are forked from: what it prints goes nowhere."""

from search.quiet import mute

mute()
