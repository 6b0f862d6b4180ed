"""What is tried next, where it runs, what is kept."""
