"""Talks to a service over HTTP: requests, events, and files."""
