"""A hyperas template: its file, its space, its program for one config."""
