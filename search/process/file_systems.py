"""On which kind of file system a path lies."""

from __future__ import annotations

import re
from pathlib import Path

#: the mounts of this process, as proc_pid_mountinfo(5) describes them
MOUNTS = Path("/proc/self/mountinfo")
#: types of file systems that one host alone has mounted. All others count as shared: those of
#: networks (nfs, cifs, lustre, gpfs, beegfs, ceph ...), of a host of this one (9p, virtiofs), those
#: by FUSE, of which nobody knows what is behind them, and those that are not known here
OWN = {
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfs",
    "hfsplus", "jfs", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "tmpfs", "ufs",
    "vfat", "xfs", "zfs",
}  # fmt: skip


def kind_of(path: Path) -> str:
    """The type of the file system on which a path lies, or would; empty if nobody knows."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        path = path.resolve()
    except OSError:  # no Linux, or a path whose links lead in a circle
        return ""
    found, longest = "", -1
    for line in lines:
        own, _, of = line.partition(" - ")
        fields, kinds = own.split(" "), of.split(" ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        # of several on one place the last one is seen
        if path.is_relative_to(place) and len(place.parts) >= longest:
            found, longest = kinds[0], len(place.parts)
    return found


def is_shared(path: Path) -> bool:
    """Whether other hosts may use the same files, as far as anybody knows."""
    return kind_of(path) not in OWN
