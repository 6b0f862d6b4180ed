"""Pure decisions: what is tried next, and which trials end early."""
