"""Splits of sequences with classes, drawn by class where they are not given."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.examples import TEST, TRAIN, VALIDATION, Read
from lstm_sweep.models.data.source import SPLITS, Source, told
from lstm_sweep.models.errors import InputError


def drawn_splits(source: Source, read: Read) -> NDArray[np.int8]:
    """The split of each sequence, drawn where none is given."""
    splits, labels = np.array(read.splits, np.int8), np.array(read.labels, np.int32)
    units = np.array(read.units, np.uint64)
    given = sorted({*splits.tolist()})
    if given != [-1] and given[0] != TRAIN:
        raise InputError(f"{read.name}: found no training split, expected one beside the others")
    missing = [split for split in (VALIDATION, TEST) if split not in given]
    pool = np.flatnonzero(splits == given[0])
    splits[pool] = TRAIN
    share = source.split[TRAIN] + sum(source.split[one] for one in missing)
    goals = [(split, source.split[split] / share) for split in missing]
    if goals:
        splits[pool] = _draw(read, units[pool], labels[pool], goals, source.seed)
    drawn = " and ".join(SPLITS[one] for one in missing)
    if given != [-1]:
        found = ", ".join(SPLITS[one] for one in given)
        said = f"splits as given: {found}" + (f"; {drawn} drawn from train" if drawn else "")
    else:
        said = "splits drawn"
    by = (
        ", a group in one split" if read.groups else ", equal texts in one" if read.contents else ""
    )
    read.about += f"; {said}" + (f" by class with seed {source.seed}{by}" if drawn else "")
    if read.groups and given != [-1] and (several := shared(units, splits)):
        read.about += f"; {several:,} groups are in several splits"
    return splits


def shared(keys: NDArray[np.uint64], kinds: NDArray[np.integer]) -> int:
    """How many keys occur with several kinds."""
    pairs = np.unique(np.stack([keys, kinds.astype(np.uint64)]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _draw(
    read: Read,
    units: NDArray[np.uint64],
    labels: NDArray[np.int32],
    goals: list[tuple[int, float]],
    seed: int,
) -> NDArray[np.int8]:
    """Splits of sequences by shares of each class; those of one unit have the same.

    A unit counts for the rarest of its classes.
    """
    distinct, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    by_rarity = np.lexsort((np.bincount(labels)[labels], unit))
    main = labels[by_rarity][np.unique(unit[by_rarity], return_index=True)[1]]
    salt = (seed % (1 << 64)).to_bytes(8, "little")
    drawn = [hashlib.blake2b(one.tobytes(), digest_size=8, key=salt).digest() for one in distinct]
    by_draw = np.array(sorted(range(len(drawn)), key=drawn.__getitem__), np.int64)
    splits = np.zeros(len(distinct), np.int8)
    for name, label in read.classes.items():
        members = by_draw[main[by_draw] == label]
        in_class = int((labels == label).sum())
        if len(members) <= len(goals):
            if not in_class:
                continue  # which only another split has, or none
            alike = "" if len(members) == in_class else f", {len(members)} of them apart"
            raise InputError(
                f"{read.name}: class {told(name)} has {in_class} sequence"
                f"{'' if in_class == 1 else 's'}{alike}, expected at least {len(goals) + 1}, some "
                f"for each split"
            )
        total, begin = np.cumsum(sizes[members]), 0
        for left, (split, share) in zip(range(len(goals), 0, -1), goals, strict=True):
            taken = int(total[begin - 1]) if begin else 0
            end = 1 + int(np.searchsorted(total, taken + max(1, round(share * int(total[-1])))))
            end = min(max(end, begin + 1), len(members) - left)
            splits[members[begin:end]] = split
            begin = end
    return splits[unit]
