from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.engine_names import ENGINES
from lstm_sweep.search.policy.proposer import ALGORITHMS
from lstm_sweep.search.spec import RULES, SweepSpec, read_spec
from lstm_sweep.search.times import DEFAULT_MINUTES
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space

WHOLE = "expected a whole number from"
NAME = "expected up to 100 letters, digits, '.', '_' and '-', a letter or digit first"


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("data", 5, "data is 5: expected a path or the name of a sample"),
        ("data", "", "data is '': expected a path or the name of a sample"),
        (
            "symbols",
            "char",
            "symbols is 'char': did you mean 'chars'? possible: auto, chars, ids",
        ),
        ("split", [8, 1], "split is [8, 1]: expected three shares above 0, such as [8, 1, 1]"),
        ("split", "8,1,1", "split is '8,1,1': expected three shares above 0, such as [8, 1, 1]"),
        (
            "split",
            [8, 1, "1"],
            "split is [8, 1, '1']: expected three shares above 0, such as [8, 1, 1]",
        ),
        ("split", [1, 1, 0], "split is [1, 1, 0]: expected three shares above 0"),
        ("split", [0, 0, 0], "split is [0, 0, 0]: expected three shares above 0"),
        ("ends", "yes", "ends is 'yes': expected auto, true or false"),
        ("ends", None, "ends is None: expected auto, true or false"),
        ("name", "a/b", f"name is 'a/b': {NAME}"),
        ("space", {"layer": 2}, "space: 'layer' is no field of a config: did you mean 'layers'?"),
        ("space", {"layers": 99}, "space: layers is 99: expected an integer from 1 to 16"),
        ("space", [], "space: found nothing, expected a mapping of fields to values"),
        ("trials", 0, f"trials is 0: {WHOLE} 1"),
        ("trials", 1.5, f"trials is 1.5: {WHOLE} 1"),
        ("trials", "20", f"trials is '20': {WHOLE} 1"),
        ("trials", True, f"trials is True: {WHOLE} 1"),
        ("minutes", 0, "minutes is 0: expected a number above 0"),
        ("minutes", -1, "minutes is -1: expected a number above 0"),
        ("minutes", math.nan, "minutes is nan: expected a number above 0"),
        ("minutes", math.inf, "minutes is inf: expected a number above 0"),
        ("minutes", "5", "minutes is '5': expected a number above 0"),
        ("workers", 0, f"workers is 0: {WHOLE} 1"),
        ("per_gpu", 0, "per_gpu is 0: expected a whole number from 1"),
        ("per_gpu", None, "per_gpu is None: expected a whole number from 1"),
        ("on", "cloud", f"on is 'cloud': expected one of {', '.join(ENGINES)}"),
        ("algo", "grid", f"algo is 'grid': expected one of {', '.join(ALGORITHMS)}"),
        ("seed", -1, f"seed is -1: {WHOLE} 0"),
        ("seed", 0.5, f"seed is 0.5: {WHOLE} 0"),
        ("size_rule", "maybe", f"size_rule is 'maybe': expected one of {', '.join(RULES)}"),
        ("size_rule", False, f"size_rule is False: expected one of {', '.join(RULES)}"),
        ("size_low", -0.1, "size_low is -0.1: expected a number from 0"),
        ("size_low", 11, "size rule from 11 to 10: expected 0 <= low <= high"),
        ("size_high", "big", "size_high is 'big': expected a number from 0"),
        ("size_high", 0.01, "size rule from 0.1 to 0.01: expected 0 <= low <= high"),
        ("ladder", "no", "ladder is 'no': expected true or false"),
        ("ladder", 1, "ladder is 1: expected true or false"),
        ("ladder", None, "ladder is None: expected true or false"),
        ("halving", "true", "halving is 'true': expected true or false"),
        ("halving", 0, "halving is 0: expected true or false"),
        ("early_stopping", -1, f"early_stopping is -1: {WHOLE} 0"),
        ("early_stopping", 2.5, f"early_stopping is 2.5: {WHOLE} 0"),
        ("early_stopping", "5", f"early_stopping is '5': {WHOLE} 0"),
        ("early_stopping", False, f"early_stopping is False: {WHOLE} 0"),
        ("early_stopping", None, f"early_stopping is None: {WHOLE} 0"),
        ("patience", 0, f"patience is 0: {WHOLE} 1"),
        ("patience", 1.5, f"patience is 1.5: {WHOLE} 1"),
        ("patience", "never", f"patience is 'never': {WHOLE} 1"),
        ("patience", True, f"patience is True: {WHOLE} 1"),
        ("confirm_configs", -1, f"confirm_configs is -1: {WHOLE} 0"),
        ("confirm_configs", 0.5, f"confirm_configs is 0.5: {WHOLE} 0"),
        ("confirm_configs", None, f"confirm_configs is None: {WHOLE} 0"),
        ("confirm_configs", 10**30, f"confirm_configs is too large: {WHOLE} 0"),
        ("confirm_seeds", -1, f"confirm_seeds is -1: {WHOLE} 0"),
        ("confirm_seeds", "3", f"confirm_seeds is '3': {WHOLE} 0"),
        ("confirm_seeds", True, f"confirm_seeds is True: {WHOLE} 0"),
        ("targets", 0, "targets is 0: expected auto or a whole number from 1"),
        ("targets", "many", "targets is 'many': expected auto or a whole number from 1"),
        ("keep", 0, f"keep is 0: {WHOLE} 1"),
        ("trails", 5, "'trails' is no field: did you mean 'trials'? possible: data, symbols,"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'a.yaml: {message}')}"):
        SweepSpec.from_mapping({field: value}, "a.yaml")


def test_an_unknown_field_lists_all_fields() -> None:
    fields = ", ".join(field.name for field in dataclasses.fields(SweepSpec))
    with pytest.raises(InputError, match=f"'zzz' is no field: possible: {fields}$"):
        SweepSpec.from_mapping({"zzz": 1}, "a.yaml")


def test_an_unknown_space_is_refused_with_the_declared_ones() -> None:
    with pytest.raises(InputError, match=r"space 'fast': no such file.*default, quick"):
        SweepSpec.from_mapping({"space": "fast"}, "a.yaml")


@pytest.mark.parametrize("name", ["a", "7", "2024-01.run_3", "A" * 100])
def test_a_name_of_letters_digits_and_marks_is_taken(name: str) -> None:
    assert SweepSpec(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "_a", "a b", "a/b", "A" * 101, "ä", "a\n", "../a", 2024]
)
def test_any_other_name_is_refused(name: Any) -> None:
    with pytest.raises(InputError, match=re.escape(f"name is {name!r}: {NAME}")):
        SweepSpec(name=name)


def test_nothing_given_means_the_defaults() -> None:
    spec = SweepSpec.from_mapping({}, "here")
    assert spec == SweepSpec()
    assert (spec.data, spec.space, spec.trials, spec.minutes) == (
        "python-docs",
        presets.DEFAULT,
        None,
        DEFAULT_MINUTES,
    )
    assert SweepSpec(trials=40).minutes is None and SweepSpec(minutes=5).trials is None


def test_defaults_give_the_default_rule_and_scoring() -> None:
    assert SweepSpec().rule() == SizeRule()
    assert SweepSpec(targets=7, seed=9, adjacent_targets=24).scoring() == Scoring(7, 0, 24)
    apart = SweepSpec(targets=7, targets_seed=9, adjacent_targets=1).scoring()
    assert apart == Scoring(7, 9) and not apart.share_windows


def test_shares_of_a_split_are_made_to_sum_to_one() -> None:
    assert SweepSpec.from_mapping({"split": [2, 1, 1]}, "here").split == (0.5, 0.25, 0.25)


def test_a_path_is_written_so_that_it_holds_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert SweepSpec(data="logs").to_dict()["data"] == str(tmp_path.resolve() / "logs")


def test_a_sample_is_written_by_its_name() -> None:
    assert SweepSpec(data="python-docs").to_dict()["data"] == "python-docs"


SPACES = [
    presets.DEFAULT,
    presets.QUICK,
    Space({}),
    Space({"dropout": Range("dropout", 0.1, 0.5, step=0.1), "layers": Listed("layers", (1, 4))}),
]


@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "data": st.sampled_from(list(SAMPLES)),
            "symbols": st.sampled_from(["auto", "chars", "ids"]),
            "ends": st.sampled_from(["auto", True, False]),
            "split": st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.6, 0.2, 0.2)]),
            "name": st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
            "space": st.sampled_from(SPACES),
            "trials": st.integers(1, 1000),
            "minutes": st.none() | st.floats(0, 1e6, exclude_min=True),
            "workers": st.none() | st.integers(1, 100),
            "per_gpu": st.integers(1, 8),
            "on": st.sampled_from(["local", "inline"]),
            "algo": st.sampled_from(["tpe", "random", "anneal"]),
            "ladder": st.booleans(),
            "halving": st.booleans(),
            "early_stopping": st.integers(0, 100),
            "patience": st.none() | st.integers(1, 1000),
            "confirm_configs": st.integers(0, 10),
            "confirm_seeds": st.integers(0, 10),
            "seed": st.integers(0, 2**63),
            "size_rule": st.sampled_from(["reject", "warn", "off"]),
            "size_low": st.floats(0, 0.5),
            "size_high": st.floats(0.5, 100),
            "targets": st.integers(1, 10**6),
            "keep": st.integers(1, 50),
        },
    )
)
def test_any_spec_is_read_back_from_what_it_writes(values: dict[str, Any]) -> None:
    spec = SweepSpec(**values)
    assert SweepSpec.from_mapping(spec.to_dict(), "here") == spec


def test_a_spec_writes_every_field() -> None:
    assert list(SweepSpec().to_dict()) == [field.name for field in dataclasses.fields(SweepSpec)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "trials: 7\n"
        "seed: 3\n"
        "space:\n"
        "  layers: [1, 2]\n"
        "  dropout: 0..0.5\n"
    )  # fmt: skip
    return path


def test_a_file_gives_fields_and_others_keep_their_defaults(file: Path) -> None:
    spec = read_spec(file, {}, [])
    assert (spec.trials, spec.seed, spec.keep) == (7, 3, SweepSpec().keep)
    assert spec.space["layers"].values() == [1, 2]


def test_options_go_before_the_file(file: Path) -> None:
    spec = read_spec(file, {"trials": 9}, [])
    assert (spec.trials, spec.seed) == (9, 3)


def test_settings_go_before_the_space_of_the_file(file: Path) -> None:
    spec = read_spec(file, {}, ["layers=3"])
    assert spec.space["layers"].values() == [3]
    assert spec.space["dropout"] == Range("dropout", 0.0, 0.5)


def test_settings_go_before_a_space_given_as_an_option(file: Path) -> None:
    spec = read_spec(file, {"space": "quick"}, ["epochs=1"])
    assert spec.space == presets.QUICK.replace(epochs=Listed("epochs", (1,)))


def test_without_a_file_the_command_line_is_all() -> None:
    assert read_spec(None, {"trials": 4}, []) == SweepSpec(trials=4)


def test_a_space_may_be_named_or_be_a_file(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("layers: 1..3\n")
    assert read_spec(None, {"space": str(space)}, []).space["layers"].values() == [1, 2, 3]


def test_a_refused_field_of_a_file_names_the_file(file: Path) -> None:
    file.write_text("trials: many\n")
    message = f"{file}: trials is 'many': {WHOLE} 1"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_spec(file, {}, [])


def test_a_refused_space_of_a_file_names_the_file(file: Path) -> None:
    file.write_text("space: {layers: 0}\n")
    with pytest.raises(InputError, match=f"^{re.escape(f'{file}: space: layers is 0: ')}"):
        read_spec(file, {}, [])


def test_a_refused_option_names_the_command_line() -> None:
    with pytest.raises(InputError, match=r"^command line: trials is 0: "):
        read_spec(None, {"trials": 0}, [])


def test_a_refused_setting_is_named(file: Path) -> None:
    with pytest.raises(InputError, match=r"^--set layer=1: 'layer' is no field of a config"):
        read_spec(file, {}, ["layer=1"])


@pytest.mark.parametrize("content", ["", "- trials\n", "trials\n"])
def test_a_file_without_fields_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(InputError, match=re.escape(f"{file}: found no fields, expected a mapping")):
        read_spec(file, {}, [])


def test_a_file_that_is_no_yaml_is_named_with_its_line(file: Path) -> None:
    file.write_text("trials: 5\nseed: }\n")
    with pytest.raises(InputError, match=re.escape(f"{file}:2: ")):
        read_spec(file, {}, [])


def test_the_path_of_the_data_holds_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.txt").write_text("some words")
    monkeypatch.chdir(tmp_path)
    spec = SweepSpec(data="words.txt")
    written, digest = spec.to_dict(), spec.digest()
    monkeypatch.chdir("/")
    assert spec.data == written["data"] == str(tmp_path / "words.txt")
    assert (spec.to_dict(), spec.digest()) == (written, digest)
    assert dataclasses.replace(spec, trials=3).source() == spec.source()


def test_relative_paths_of_a_spec_start_at_the_folder_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("some words")
    (tmp_path / "space.yaml").write_text("layers: [1, 4]\n")
    written = {"data": "words.txt", "space": "space.yaml"}
    spec = SweepSpec.from_mapping(written, "here", tmp_path)
    assert spec.data == str(tmp_path / "words.txt")
    assert spec.space["layers"].values() == [1, 4]
    named = SweepSpec.from_mapping({"data": "python-docs", "space": "quick"}, "here", tmp_path)
    assert (named.data, named.space) == ("python-docs", presets.QUICK)
    with pytest.raises(InputError, match="expected a path or the name of a sample"):
        SweepSpec.from_mapping({"data": ""}, "here", tmp_path)
