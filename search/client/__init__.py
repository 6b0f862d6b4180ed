"""Talks to a service over HTTP, with nothing but the standard library."""
