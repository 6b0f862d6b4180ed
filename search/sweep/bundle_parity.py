"""Whether an exported bundle predicts what the network of its trial does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

#: largest difference between two logits that counts as the same prediction
PARITY_TOLERANCE = 1e-4
#: what a bundle is checked with, by its format
PROGRAMS = {"keras": "plain Keras", "savedmodel": "plain TensorFlow", "onnx": "ONNX Runtime"}


def check_parity(difference: float) -> None:
    """Refuse a bundle whose predictions differ by so much.

    Raises:
        RuntimeError: that is too much.
    """
    if not difference <= PARITY_TOLERANCE:
        raise RuntimeError(
            f"the bundle's predictions differ from the trial's by {difference:.3g}; not exported"
        )


def parity_lines(result: Mapping[str, Any], rows: str) -> list[str]:
    """Lines that are printed about a check on so many `rows`."""
    program = PROGRAMS[result["format"]]
    parity = result["parity"]
    return [
        f"a clean process with {program} predicts the same on {parity['windows']} {rows} "
        f"(largest difference {parity['max_difference']:.2g})"
    ]


def unchecked_reason(result: Mapping[str, Any]) -> str:
    """Why a bundle was not checked."""
    why = result["parity"].get("not_loaded")
    return str(why or "the store has no inputs that its network was trained on")


def backend_free_of_gpu() -> None:
    """Hide GPUs from this process: on one, Keras would write operations that load nowhere else."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
