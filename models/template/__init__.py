"""Runs a user's template."""
