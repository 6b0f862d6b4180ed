"""What a drawing shows, read back from its SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</svg><script>alert('1')</script> & \"x\" \x00\x1b[31m\ud800"


def parsed(drawing: str) -> Element:
    """The root of a drawing, which has to be well-formed, with nothing but shapes."""
    root = ElementTree.fromstring(drawing)
    assert root.tag == f"{SVG}svg" and root.get("aria-label")
    allowed = {"svg", "text", "line", "path", "circle", "rect", "title"}
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= allowed
    numbers = (value for one in root.iter() for name, value in one.items() if name in POSITIONS)
    for value in numbers:
        assert re.fullmatch(r"-?[0-9]+(\.[0-9])?", value), value
    return root


POSITIONS = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"}


def texts(root: Element) -> list[str]:
    """All texts that are seen."""
    return [one.text or "" for one in root.iter(f"{SVG}text")]


def with_class(root: Element, *words: str) -> list[Element]:
    """Elements that have all these classes."""
    return [one for one in root.iter() if set(words) <= set((one.get("class") or "").split())]


def points(path: Element) -> list[tuple[float, float]]:
    """The corners of a path."""
    numbers = [float(one) for one in re.findall(r"-?[0-9.]+", path.get("d") or "")]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def centre(mark: Element) -> tuple[float, float]:
    """Where a circle stands."""
    return float(mark.attrib["cx"]), float(mark.attrib["cy"])
