"""What may vary: search spaces over the fields of a trial's config."""

#: the names of the declared spaces, for those who have no NumPy to import `presets`
PRESET_NAMES = ("default", "quick")
