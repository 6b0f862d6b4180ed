"""The documents of the repository and their parts: blocks, sections, rows, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
#: what stands in the tree and is no part of the repository
MADE = {"__pycache__", "build", "dist", "mlartifacts", "mlruns"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")


def files(folder: Path) -> list[Path]:
    """All files in a folder, without what is hidden or made; links to folders are not followed."""
    found = []
    for path in folder.iterdir():
        if path.name[0] == "." or path.name in MADE:
            continue
        if path.is_dir() and not path.is_symlink():
            found += files(path)
        elif path.is_file():
            found.append(path)
    return found


def repository() -> Iterator[Path]:
    """Files in folders with programs; what users leave beside these, such as models, has none."""
    for folder in ROOT.iterdir():
        if folder.is_dir() and folder.name[0] != "." and folder.name not in MADE:
            found = files(folder)
            if any(path.suffix == ".py" for path in found):
                yield from (path.relative_to(ROOT) for path in found)


FILES = sorted(repository())
PAGES = ["README.md", *(str(path) for path in FILES if path.suffix == ".md")]


def text_of(page: str | Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def pages_of(value: str) -> str:
    """A short name for a case: the page, and not the block."""
    return value if value in PAGES else ""


def blocks(language: str) -> list[tuple[str, str]]:
    """All blocks of a language, each with the page that it stands on."""
    return [
        (page, content)
        for page in PAGES
        for kind, content in FENCE.findall(text_of(page))
        if kind == language
    ]


def section(page: str | Path, heading: str) -> str:
    """What stands on a page below a heading, up to the next one of its level."""
    found = re.search(
        rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text_of(page), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page} has no heading {heading!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """Rows of the first table in a text, without its head."""
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in row[1:-1].split(" | ")] for row in table[0].splitlines()[2:]]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text_of(page)), re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return {
        f"{name}-{count}" if (count := names[:place].count(name)) else name
        for place, name in enumerate(names)
    }


# The files of `docker/`: services, stages of the image, and the README


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
