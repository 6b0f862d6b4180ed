"""Versions that the bits of a trial depend on."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata

PACKAGES = ("lstm-sweep", "keras", "tensorflow", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the bits of a trial depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
