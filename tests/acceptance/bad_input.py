"""Data and files of every kind, good and bad, and how bad ones are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lstm_sweep.search.cli import main

DATA = b"def data():\n    return x, y\n"
MODEL = b"def create_model(x, y):\n    return {{choice([1, 2])}}\n"
TEMPLATE = DATA + MODEL
OVER = ["launch", "--template"]
GOOD = ["launch", "--data", "good.txt"]
TEXT = "the sun under the moon and the river of stone " * 60


def lay_out(folder: Path) -> Path:
    """Fill a folder with data of every kind, good and bad."""
    files: dict[str, bytes] = {
        "good.txt": TEXT.encode(),
        "empty.txt": b"",
        "latin.txt": TEXT.encode() + b"\ncaf\xe9\n",
        "negative.log": b"1\n2\n-3\n4\n",
        "float.log": b"1\n2\n3.5\n",
        "mixed.log": b"1 2 3\n4 ERROR 6\n7 8 9\n",
        "long.log": b"1\n" + b"9" * 19 + b"\n3\n",
        "short.txt": b"ab" * 30,
        "one.txt": b"a" * 5000,
        "split/train/a.txt": TEXT.encode(),
        "broken.yaml": b"trials: [1,\n",
        "unknown.yaml": b"trails: 3\n",
        "list.yaml": b"- 1\n",
        "space.yaml": b"layer_sise: [8]\n",
        "range.yaml": b"dropout: {low: 0.5, high: 0.1}\n",
        "utf16.txt": TEXT.encode("utf-16-le"),
        "marked.txt": TEXT.encode("utf-16"),
        "picture.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "nul.log": b"1\n2\n\0\n" * 40,
        "signed.log": b"1\n+2\n3\n",
        "arabic.log": "1\n2\n3\n\u0664\n".encode(),
        "white.txt": b" \n" * 3,
        "cut.txt": TEXT.encode() + b"\xe2\x82",
        "two/a.log": b"1\n2\n" * 100,
        "two/b.log": b"1\nend\n",
        "mixed/a.txt": TEXT.encode(),
        "mixed/b.txt": b"\xff\xfe",
        "hidden/.a.txt": TEXT.encode(),
        "voids/a.txt": b"",
        "voids/b.txt": b"",
        "uneven/train/a.txt": TEXT.encode(),
        "uneven/validation/a.txt": b"",
        "uneven/test/a.txt": TEXT.encode(),
        "poor/train/a.txt": b"aaaa" * 500,
        "poor/validation/a.txt": b"ab" * 500,
        "poor/test/a.txt": b"ab" * 500,
        "brief/train/a.txt": TEXT.encode(),
        "brief/validation/a.txt": TEXT.encode(),
        "brief/test/a.txt": b"the sun",
        "shares/train": TEXT.encode(),
        "shares/validation/a.txt": TEXT.encode(),
        "shares/test/a.txt": TEXT.encode(),
        "tied/a.txt": TEXT.encode(),
        "good.py": TEMPLATE,
        "over.yaml": b"template: good.py\n",
        "both.yaml": b"template: good.py\nspace: quick\n",
        "rate.yaml": b"learning_rate_field: units\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "hollow").mkdir()
    (folder / "astray.txt").symlink_to("gone.txt")
    (folder / "astray.yaml").symlink_to("gone.yaml")
    (folder / "tied" / "b.txt").symlink_to("gone.txt")
    (folder / "ring").symlink_to("ring")
    os.mkfifo(folder / "pipe")
    return folder


def refuse(
    typed: list[str], named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    """Check that what is typed gets one short line with all of `named`, and that is all."""
    before = _content(folder)
    assert main(typed) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("lstm-sweep: ")
    assert len(err) < 1_100
    for part in named:
        assert part in err
    assert _content(folder) == before
    return err


def _content(folder: Path) -> dict[Path, int]:
    """When each thing in a folder was changed."""
    return {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
