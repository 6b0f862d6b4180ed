"""Trials, sweeps and their options, as values."""
