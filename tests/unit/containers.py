"""The files of `docker/`: services, stages of the image, and the README."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE, GPU, S3 = (
    yaml.safe_load((DOCKER / f"compose{overlay}.yaml").read_text(encoding="utf-8"))
    for overlay in ("", ".gpu", ".s3")
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def stages() -> dict[str, tuple[str, list[str]]]:
    """Stages of the Dockerfile by name: what each is built on, and its instructions."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, tuple[str, list[str]]] = {}
    for instruction in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", instruction):
            found[match[2]] = (match[1], [])
        elif found:
            found[list(found)[-1]][1].append(instruction)
    return found


def readme() -> str:
    return (DOCKER / "README.md").read_text(encoding="utf-8")
