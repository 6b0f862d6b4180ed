"""Commands: text or JSON."""
