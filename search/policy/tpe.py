"""The tree-structured Parzen estimator, with whole configs compared.

Bergstra et al., Algorithms for Hyper-Parameter Optimization (NIPS 2011): let l be the density of
the good configs that were tried, g that of the others. The expected improvement of a config rises
with l / g. Both densities are products over the fields, so what is learned of a learning rate holds
for networks of every size; Greff et al. (arXiv 1503.04069) find the two nearly independent.

Hyperopt picks the best of some values for each field by itself. Where values are few it suggests
the same config again and again, and all that can be done is to draw at random instead. Here configs
are drawn as a whole from l, those that may not be tried are left out, and the others are ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.arrays import Array
from lstm_sweep.spaces.dimension import Dimension
from lstm_sweep.spaces.space import Space

#: configs that are compared for one suggestion (as many as Hyperopt compares values)
CANDIDATES = 24
#: points that are drawn until there are so many configs
DRAWS = 20 * CANDIDATES
#: standard deviation of the kernel around a lone trial, as a share of the range of a field; for n
#: trials it is n ** (-1 / 5) of that (Scott, Multivariate Density Estimation, 1992)
WIDTH = 0.15

Point = Mapping[str, float]


def suggest(
    space: Space,
    good: Sequence[Point],
    others: Sequence[Point],
    accepts: Callable[[Config], bool],
    rng: np.random.Generator,
) -> list[tuple[Config, dict[str, float], float]]:
    """Configs that may be tried, the most promising first: config, point, and acquisition.

    The acquisition is the logarithm of the expected improvement, up to a constant that is the same
    for all. There are at most `CANDIDATES`, none twice, and none if nothing drawn is accepted.
    """
    likely, less = (Density(space, points) for points in (good, others))
    found: dict[Config, tuple[Array, dict[str, float]]] = {}
    drawn = likely.draw(DRAWS, rng)
    for row, point in zip(drawn, _points(space, drawn), strict=True):
        config = space.decode(point)
        if config not in found and accepts(config):
            found[config] = row, point
            if len(found) == CANDIDATES:
                break
    if not found:
        return []
    rows = np.array([row for row, _ in found.values()])
    share = len(good) / (len(good) + len(others))
    ratio = np.exp(less.log(rows) - likely.log(rows))  # g / l
    acquisitions = -np.log(share + (1 - share) * ratio)
    ranked = sorted(zip(acquisitions, found.items(), strict=True), key=lambda item: -item[0])
    return [(config, point, float(acquisition)) for acquisition, (config, (_, point)) in ranked]


class Density:
    """A density over a space: of each field a kernel around each point, and an even one.

    A row is a point with numbers as shares of their range and words as places in their list.
    """

    def __init__(self, space: Space, points: Sequence[Point]) -> None:
        self._dimensions = list(space.varying.values())
        #: `<float64>[points, fields]`
        self._centres = _rows(space, points)
        self._width = WIDTH * max(1, len(points)) ** (-1 / 5)

    def log(self, rows: Array) -> Array:
        """Logarithm of the density, `<float64>[rows]`, at `<float64>[rows, fields]`."""
        from scipy.special import logsumexp

        total = np.zeros(len(rows))
        for column, dimension in enumerate(self._dimensions):
            near = self._kernels(dimension, rows[:, column, None], self._centres[None, :, column])
            even = np.full((len(rows), 1), 0.0 if dimension.ends else -np.log(_count(dimension)))
            kernels = np.concatenate([near, even], axis=1)  # [rows, points + 1]
            total += logsumexp(kernels, axis=1) - np.log(kernels.shape[1])
        return total

    def _kernels(self, dimension: Dimension, at: Array, centres: Array) -> Array:
        """Logarithm of normal kernels that are cut off at the ends of the range, or of words."""
        from scipy.special import ndtr

        width = self._width
        if not dimension.ends:
            other = width / max(1, _count(dimension) - 1)
            return np.asarray(np.log(np.where(at == centres, 1 - width, other)))
        inside = ndtr((1 - centres) / width) - ndtr(-centres / width)
        height = np.log(width * np.sqrt(2 * np.pi) * inside)
        return np.asarray(-0.5 * ((at - centres) / width) ** 2 - height)

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Draw rows, `<float64>[count, fields]`."""
        rows = np.empty((count, len(self._dimensions)))
        for column, dimension in enumerate(self._dimensions):
            chosen = rng.integers(len(self._centres) + 1, size=count)
            centres = np.append(self._centres[:, column], np.nan)[chosen]
            share, again = rng.random(count), rng.random(count)
            if dimension.ends:
                rows[:, column] = np.where(np.isnan(centres), share, self._near(centres, share))
            else:
                words = _count(dimension)
                moved = 1 + np.floor(again * (words - 1))
                other = (centres + np.where(share < self._width, moved, 0)) % words
                rows[:, column] = np.where(np.isnan(centres), np.floor(share * words), other)
        return rows

    def _near(self, centres: Array, share: Array) -> Array:
        """Draws from the kernels around `centres`, by the inverse of their distribution."""
        from scipy.special import ndtr, ndtri

        low, high = ndtr(-centres / self._width), ndtr((1 - centres) / self._width)
        drawn = centres + self._width * ndtri(low + share * (high - low))
        return np.asarray(np.clip(drawn, 0.0, 1.0))


def _count(dimension: Dimension) -> int:
    return len(dimension.values() or ())


def _rows(space: Space, points: Sequence[Point]) -> Array:
    """Points as rows, `<float64>[points, fields]`."""
    rows = np.empty((len(points), len(space.varying)))
    for column, (name, dimension) in enumerate(space.varying.items()):
        low, high = dimension.ends or (0.0, 1.0)
        shares = (np.array([point[name] for point in points]) - low) / (high - low)
        rows[:, column] = np.clip(shares, 0.0, 1.0) if dimension.ends else shares
    return rows


def _points(space: Space, rows: Array) -> Iterator[dict[str, float]]:
    """The points of rows."""
    ends = [dimension.ends or (0.0, 1.0) for dimension in space.varying.values()]
    low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
    for raws in (low + rows * (high - low)).tolist():
        yield dict(zip(space.varying, raws, strict=True))
