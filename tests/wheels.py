"""The wheel of this tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("models", "spaces", "search")


def built_wheel(folder: Path) -> Path:
    """Build the wheel in a folder, from a copy of what it is made of."""
    for name in ("lstm_sweep", *FOLDERS, "pyproject.toml", "README.md"):
        target = folder / "source" / name
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", ROOT / name, target], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "."]
    done = subprocess.run(build, cwd=folder / "source", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel
