"""What may vary: search spaces over the fields of a trial's config."""
