"""Exported models: format, checks, serving, generation."""
