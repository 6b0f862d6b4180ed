"""The driver of one sweep."""
