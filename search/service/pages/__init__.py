"""The pages of a service for browsers, which need no JavaScript."""
