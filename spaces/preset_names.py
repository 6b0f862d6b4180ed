"""The names of the declared spaces, for those who have no NumPy to import them."""

from __future__ import annotations

#: as in `presets.SPACES`
PRESET_NAMES = ("default", "quick")
