"""What is in a zip file from elsewhere stays below its folder."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import transfers
from lstm_sweep.search.actions.transfers import unpack


def zipped(file: Path, entries: list[tuple[str, bytes, int]]) -> Path:
    """A zip file with entries: path, content, mode."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content, mode in entries:
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.external_attr = name, mode << 16
            packed.writestr(entry, content)
    return file


FILE = stat.S_IFREG | 0o4777


def test_files_are_unpacked_without_their_permissions(tmp_path: Path) -> None:
    entries = [("s-1/", b"", stat.S_IFDIR), ("s-1/a", b"1", FILE), ("s-1/deep/b c", b"22", 0)]
    unpack(zipped(tmp_path / "z", entries), tmp_path / "to")
    found = {p.relative_to(tmp_path / "to").as_posix() for p in (tmp_path / "to").rglob("*")}
    assert found == {"a", "deep", "deep/b c"}
    assert (tmp_path / "to/deep/b c").read_bytes() == b"22"
    assert not (tmp_path / "to/a").stat().st_mode & 0o7111


@pytest.mark.parametrize(
    "name",
    [
        "../out", "s-1/../../out", "/etc/out", "s-1//etc/out", "C:/out", "s-1/C:out", "s-1\\out",
        "s-1/./out", "s-1/..", "alone", "", "s-1/a\x00b", "s-1/a\nb", "other/out", "s-1/first",
        "s-1/" + "d/" * 300 + "out",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "below"
    folder.mkdir()
    file = zipped(tmp_path / "z", [("s-1/first", b"1", FILE), (name, b"2", FILE)])
    with pytest.raises(InputError, match="expected") as refused:
        unpack(file, folder / "to")
    assert "\n" not in str(refused.value)
    assert not list(folder.iterdir()) and {p.name for p in tmp_path.iterdir()} == {"below", "z"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    file = zipped(tmp_path / "z", [("s-1/link", b"/etc/passwd", kind | 0o777)])
    with pytest.raises(InputError, match="a link or a device"):
        unpack(file, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = zipped(tmp_path / "z", [("s-1/a", b"0" * 10_000, FILE), ("s-1/b", b"1", FILE)])
    with pytest.raises(InputError, match="more than 10,000 bytes"):
        unpack(file, tmp_path / "to", most_bytes=10_000)
    monkeypatch.setattr(transfers, "MOST_FILES", 1)
    with pytest.raises(InputError, match="2 files"):
        unpack(file, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_what_is_no_whole_zip_file_is_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "z", [("s-1/a", bytes(range(256)) * 40, FILE)]).read_bytes()
    assert len(whole) > 200
    for content in (b"", b"PK\x03\x04", whole[:-30], whole[:60] + b"xxxx" + whole[64:]):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(InputError, match="no whole zip file"):
            unpack(tmp_path / "bad", tmp_path / f"to-{len(content)}")
