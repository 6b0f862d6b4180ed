from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import local
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep import preflight
from lstm_sweep.spaces.space import from_mapping


def spec_with(precision: object) -> SweepSpec:
    return SweepSpec(space=from_mapping({"precision": precision}, "test"))


@pytest.mark.parametrize(
    ("precision", "gpus", "flags", "problem"),
    [
        ("float32", [], {"avx2"}, None),
        ("bfloat16", [], {"avx2", "avx512_bf16"}, None),
        ("bfloat16", [], {"amx_bf16"}, None),
        ("bfloat16", [], {"avx2"}, "none of amx_bf16, avx512_bf16"),
        (["float32", "bfloat16"], [], {"avx2"}, "none of amx_bf16, avx512_bf16"),
        ("bfloat16", [], set(), None),  # nobody knows
        ("bfloat16", ["0"], {"avx2"}, None),
        ("float16", ["0"], {"avx2"}, None),
        ("float16", [], {"avx512_bf16"}, "float16 needs a GPU"),
    ],
)
def test_a_precision_needs_the_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
    precision: object,
    gpus: list[str],
    flags: set[str],
    problem: str | None,
) -> None:
    monkeypatch.setattr(local, "find_gpus", lambda: gpus)
    monkeypatch.setattr(preflight, "cpu_flags", lambda: flags)
    if problem is None:
        preflight.check_precision(spec_with(precision))
        return
    with pytest.raises(InputError, match=problem):
        preflight.check_precision(spec_with(precision))


@pytest.mark.parametrize(
    "content, flags",
    [
        ("processor: 0\nflags\t\t: fpu avx2\n\nprocessor: 1\nflags\t\t: fpu\n", {"fpu", "avx2"}),
        ("processor: 0\nFeatures: fp asimd\n", set()),
        (None, set()),
    ],
    ids=["x86", "another kind", "no file"],
)
def test_the_flags_of_a_cpu_are_those_that_the_system_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, flags: set[str]
) -> None:
    file = tmp_path / "cpuinfo"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    monkeypatch.setattr(preflight, "Path", lambda name: file)
    assert preflight.cpu_flags() == flags
