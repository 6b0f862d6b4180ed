"""What commands print, and a service answers, of the values of `search.api`."""
