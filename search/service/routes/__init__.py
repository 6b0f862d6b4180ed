"""Endpoints, a file for each noun."""
