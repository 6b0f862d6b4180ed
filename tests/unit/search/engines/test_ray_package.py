from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.ray_package import TooLargeError, packed


def test_a_package_has_the_files_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("eins\n")
    with packed({"data/x": tmp_path / "one", "mlflow.yaml": b"a: 1\n"}, 10_000) as package:
        content = package.file.read()
    assert package.size == len(content)
    assert package.name == f"_ray_pkg_{package.digest}.zip"
    archive = zipfile.ZipFile(io.BytesIO(content))
    found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {"data/x": b"eins\n", "mlflow.yaml": b"a: 1\n"}
    assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o600}


def test_the_same_content_is_the_same_package(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("eins\n")
    digests = []
    for time, name in ((0, "x"), (1_000_000_000, "x"), (0, "y")):
        os.utime(tmp_path / "one", (time, time))
        with packed({name: tmp_path / "one"}, 10_000) as package:
            digests.append(package.digest)
    assert digests[0] == digests[1] != digests[2]


def test_what_is_too_large_is_refused_before_all_is_read(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(3 << 20)
    (tmp_path / "noise").write_bytes(noise)
    files: dict[str, Path | bytes] = {"a": tmp_path / "noise", "b": tmp_path / "missing"}
    with pytest.raises(TooLargeError), packed(files, 1 << 20):
        pass
    with pytest.raises(TooLargeError), packed({"a": b"x"}, 100):
        pass


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    expected = "missing: No such file or directory, expected a readable file"
    with pytest.raises(InputError, match=expected), packed({"a": tmp_path / "missing"}, 1000):
        pass
