"""What a slot computes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a slot computes on."""

    #: in words: `cpu: ` or `gpu: ` and the name of the CPU or of the card
    kind: str
    gpu: bool = False
    #: name of its node in a cluster; None on the driver's own machine
    node: str | None = None
    #: names of the instruction sets of the node's CPU; none where nobody knows
    cpu_flags: frozenset[str] = frozenset()
    #: CPU cores of the node that trials may use
    cores: int = 1
    #: bytes of the node's main memory; None where nobody knows
    memory: int | None = None
