"""What `size` prints: networks of a space, compared with the size rule."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.api.network_sizes import SizeReport
from lstm_sweep.search.texts.terminal import plain


def write_sizes(console: Console, report: SizeReport) -> None:
    """Print the sizes of networks, and whether a sweep would take them."""
    for line in _lines(report):
        console.print(line, soft_wrap=True)


def _lines(report: SizeReport) -> Iterator[str]:
    yield f"corpus: {plain(report.corpus)}"
    yield f"corpus: {report.training_symbols:,} training symbols, alphabet {report.alphabet}"
    if text := unknown_text(report.unknown_share):
        yield f"corpus: {text}"
    for network in report.networks:
        size = f"{network.layers}x{network.layer_size}"
        if network.embedding_size:
            size += f", embedding {network.embedding_size}"
        yield f"{network.direction} {size}: {network.reason}"
    if len(report.networks) < report.structures:
        passed = f"{report.admitted} of them pass"
        yield f"smallest and largest of {report.structures} networks; {passed}"
    if report.refused:
        yield f"a sweep would refuse this: {plain(report.refused)}"
