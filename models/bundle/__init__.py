"""Exported models: format, checks, serving."""
