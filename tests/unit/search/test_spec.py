"""The options of a sweep: the same from the command line, a file, Python and a request."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lstm_sweep as ls
from lstm_sweep._launch import spec_of
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.source import SAMPLES
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.cli import sweeps
from lstm_sweep.search.cli.parsers import build_parser
from lstm_sweep.search.service.schemas import Changes, Networks, SweepSubmission
from lstm_sweep.search.service.site import DataNames
from lstm_sweep.search.service.uploads import Uploads
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.documents import duration, loss_text, time_left_text
from lstm_sweep.search.values.spec import (
    ALGORITHMS,
    CHANGEABLE,
    ENGINES,
    OPTIONS,
    RULES,
    SweepSpec,
    ray_address,
    read_spec,
)
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Slot, Trial, trial_seed
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range

NAMES = DataNames(cast(Uploads, None), (), allow_code=False, store="")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep.yaml"


def from_file(fields: Mapping[str, Any], file: Path) -> SweepSpec:
    """The spec of a sweep file."""
    file.write_text(yaml.safe_dump(json.loads(json.dumps(fields))))
    return read_spec(file, {}, [])


def from_python(fields: Mapping[str, Any], file: Path) -> SweepSpec:
    """The spec of keywords of `launch`."""
    return spec_of(fields)


def from_request(fields: Mapping[str, Any], file: Path) -> SweepSpec:
    """The spec of a request of a service."""
    return NAMES.spec_of(SweepSubmission(**fields).sent())


def from_command_line(fields: Mapping[str, Any], file: Path) -> SweepSpec:
    """The spec of options of `launch`."""
    typed = [f"--{name.replace('_', '-')}={_typed(value)}" for name, value in fields.items()]
    found = sweeps.wanted(build_parser().parse_args(["launch", *typed]), Local())
    assert isinstance(found, SweepSpec)
    return found


def _typed(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)


#: what makes a spec of fields, and what it calls the place of one
WAYS: dict[Callable[[Mapping[str, Any], Path], SweepSpec], Callable[[str, Path], str]] = {
    from_file: lambda name, file: f"{file}: {name}",
    from_python: lambda name, file: f"launch: {name}",
    from_request: lambda name, file: f"request: {name}",
    from_command_line: lambda name, file: f"--{name.replace('_', '-')}",
}
WHOLE, NUMBER = "expected a whole number from", "expected a number"
SWITCH = "expected true or false"
SHARES = "expected three shares above 0, such as [8, 1, 1]"
SYMBOLS = "expected one of auto, chars, words, ids, lines, or field=NAME"
NAME = "expected up to 100 letters, digits, '.', '_' and '-', a letter or digit first"
#: fields, their values, and what is said of them; texts and whole numbers by all ways
BAD: list[tuple[str, Any, str]] = [
    ("symbols", "char", f"'char': {SYMBOLS}; did you mean"),
    ("session_by", "(", "'(': expected a regular expression (missing )"),
    ("session_by", [], "[]: expected a regular expression, or field=NAME"),
    ("header", "", "'': expected a regular expression"),
    ("split", [8, 1], f"[8, 1]: {SHARES}"),
    ("split", [8, 1, "1"], f"[8, 1, '1']: {SHARES}"),
    ("split", [1, 1, 0], f"[1, 1, 0]: {SHARES}"),
    ("task", "class", "'class': expected one of auto, symbols, classes; did you mean 'classes'?"),
    ("ends", 1.0, "1.0: expected auto, true or false"),
    ("ends", None, "None: expected auto, true or false"),
    ("name", "a/b", f"'a/b': {NAME}"),
    ("trials", 0, f"0: {WHOLE} 1"),
    ("trials", 1.5, f"1.5: {WHOLE} 1"),
    ("trials", "ten", f"'ten': {WHOLE} 1"),
    ("trials", True, f"True: {WHOLE} 1"),
    ("trials", 10**30, f"too large: {WHOLE} 1 to {2**64}"),
    ("minutes", -1.0, f"-1.0: {NUMBER} above 0"),
    ("minutes", 0.0, f"0.0: {NUMBER} above 0"),
    ("minutes", math.nan, f"nan: {NUMBER} above 0"),
    ("minutes", math.inf, f"inf: {NUMBER} above 0"),
    ("minutes", "5m", f"'5m': {NUMBER} above 0"),
    ("workers", 2_000, f"2000: {WHOLE} 1 to 1000"),
    ("per_gpu", 0, f"0: {WHOLE} 1"),
    ("per_gpu", None, f"None: {WHOLE} 1"),
    ("on", "cloud", f"'cloud': expected one of {', '.join(ENGINES)}"),
    ("algo", "grid", f"'grid': expected one of {', '.join(ALGORITHMS)}"),
    ("seed", -1, f"-1: {WHOLE} 0"),
    ("size_rule", "maybe", f"'maybe': expected one of {', '.join(RULES)}"),
    ("size_rule", False, f"False: expected one of {', '.join(RULES)}"),
    ("size_low", -0.1, f"-0.1: {NUMBER} from 0"),
    ("ladder", 1.0, f"1.0: {SWITCH}"),
    ("prior", None, f"None: {SWITCH}"),
    ("early_stopping", False, f"False: {WHOLE} 0"),
    ("patience", "never", f"'never': {WHOLE} 1"),
    ("confirm_configs", -1, f"-1: {WHOLE} 0"),
    ("confirm_seeds", None, f"None: {WHOLE} 0"),
    ("max_failures", 0, f"0: {WHOLE} 1"),
    ("targets", 0, "0: expected auto or a whole number from 1"),
    ("rounds_per_epoch", "many", "'many': expected auto or a whole number from 1"),
    ("keep", 0, f"0: {WHOLE} 1"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), BAD)
def test_a_bad_value_is_refused_by_the_same_sentence(
    field: str, value: Any, sentence: str, file: Path
) -> None:
    is_typed = type(value) in (str, int, float) and (type(value) is not float or field == "minutes")
    for make, place in WAYS.items():
        if make is from_command_line and not is_typed:
            continue
        if make is from_python and value is None:  # as if it were not given
            continue
        with pytest.raises(InputError) as refusal:
            make({field: value}, file)
        assert str(refusal.value).startswith(f"{place(field, file)} is {sentence}")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("--ladder=yes", "--ladder is 'yes': expected on or off"),
        ("--ends=True", "--ends is 'True': expected auto, on or off"),
        ("--trials=1.5", f"--trials is '1.5': {WHOLE} 1"),
        ("--trials=", f"--trials is '': {WHOLE} 1"),
        (f"--trials={'9' * 5000}", f"--trials is '{'9' * 120}...': {WHOLE} 1"),
        ("--split=8,1", "--split is '8,1': expected three shares above 0, such as 8,1,1"),
        ("--split=a", "--split is 'a': expected three shares above 0, such as 8,1,1"),
        ("--data=", "--data is '': expected a path or the name of a sample"),
        ("--space=fast", "--space 'fast': no such file, expected a YAML file or a declared space"),
        ("--learning-rate-field=x", "--learning-rate-field is given, expected a template with it"),
        ("--set=layer=1", "--set layer=1: 'layer' is no field of a config: did you mean 'layers'?"),
    ],
)
def test_what_is_typed_is_refused_by_its_option(typed: str, sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        sweeps.wanted(build_parser().parse_args(["launch", typed]), Local())
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"data": 5}, "data is 5: expected a path or the name of a sample"),
        ({"space": {"layer": 2}}, "space: 'layer' is no field of a config: did you mean 'layers'?"),
        ({"space": {"layers": 99}}, "space: layers is 99: expected an integer from 1 to 16"),
        ({"space": []}, "space: found nothing, expected a mapping of fields to values"),
        ({"space": "fast"}, "space 'fast': no such file, expected a YAML file or a declared space"),
        ({"header": "a"}, "header is given with symbols auto: expected symbols lines"),
        ({"symbols": "field=a", "header": "a"}, "header is given with symbols field=a: expected"),
        ({"symbols": "ids", "lower_case": True}, "lower_case is given with symbols ids: expected"),
        ({"label": 0, "labels": "x"}, "labels is given with label '0': expected one of them"),
        ({"label": -1}, "label is -1: expected the name of a column, or its number from 0"),
        ({"size_low": 11}, "size rule from 11 to 10: expected 0 <= low <= high"),
        (
            {"trails": 5},
            "'trails' is no field: did you mean 'trials'? possible: data, task, symbols, ",
        ),
        ({"template": 5}, "template is 5: expected a path"),
        ({"template": "x.py", "data": "y"}, "data is given with a template, expected one of the"),
    ],
)
def test_what_is_no_single_value_is_refused_by_files_and_python(
    fields: dict[str, Any], sentence: str, file: Path
) -> None:
    for make, where in ((from_file, file), (from_python, "launch")):
        with pytest.raises(InputError) as refusal:
            make(fields, file)
        assert str(refusal.value).startswith(f"{where}: {sentence}")


#: values of options that are allowed
GOOD: dict[str, Any] = {
    "data": st.sampled_from(list(SAMPLES)),
    "task": st.just("auto"),
    "symbols": st.sampled_from(["auto", "chars", "ids", "lines", "field=a.b"]),
    "session_by": st.sampled_from(["(a|b)c", "field=id"]),
    "header": st.sampled_from([r"\S+ ", "^.*?:"]),
    "vocabulary": st.integers(2, 10**6),
    "lower_case": st.booleans(),
    "label": st.sampled_from(["class", "0", 0]),
    "text": st.sampled_from(["review", 1]),
    "group": st.sampled_from(["author", 2]),
    "ends": st.sampled_from(["auto", True, False]),
    "split": st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (6, 2, 2)]),
    "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
    "space": st.sampled_from(list(presets.SPACES)),
    "trials": st.integers(1, 1000),
    "minutes": st.floats(0, 1e6, exclude_min=True),
    "workers": st.integers(1, 100),
    "per_gpu": st.integers(1, 8),
    "on": st.sampled_from(list(ENGINES)),
    "algo": st.sampled_from(ALGORITHMS),
    "ladder": st.booleans(),
    "halving": st.booleans(),
    "prior": st.booleans(),
    "early_stopping": st.integers(0, 100),
    "patience": st.integers(1, 1000),
    "confirm_configs": st.integers(0, 10),
    "confirm_seeds": st.integers(0, 10),
    "max_failures": st.integers(1, 10),
    "seed": st.integers(0, 2**63),
    "size_rule": st.sampled_from(RULES),
    "size_low": st.floats(0, 0.5),
    "size_high": st.floats(0.5, 100),
    "targets": st.integers(1, 10**6) | st.just("auto"),
    "targets_seed": st.integers(0, 9),
    "adjacent_targets": st.integers(1, 100) | st.just("auto"),
    "rounds_per_epoch": st.integers(1, 100) | st.just("auto"),
    "keep": st.integers(1, 50),
}


@given(fields=st.fixed_dictionaries({}, optional=GOOD))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_ways_make_the_same_spec_and_it_is_read_back_from_what_it_writes(
    fields: dict[str, Any], file: Path
) -> None:
    if fields.keys() & {"session_by", "header"}:
        of_words = {"vocabulary", "lower_case"}
        fields = {**{k: v for k, v in fields.items() if k not in of_words}, "symbols": "lines"}
    elif fields.keys() & {"vocabulary", "lower_case"}:
        fields = fields | {"symbols": "words"}
    labelled = "label" in fields
    others = ("ends", "targets", "adjacent_targets") if labelled else ("text", "group")
    fields = {name: value for name, value in fields.items() if name not in others}
    if labelled:  # as a service has it
        fields["unlabelled"] = "off"
    spec = SweepSpec.from_mapping(fields, "here")
    assert spec.task == ("classes" if labelled else "symbols")
    assert [make(fields, file) for make in WAYS] == [spec] * len(WAYS)
    assert SweepSpec.from_mapping(spec.to_dict(), "here") == spec


def test_all_ways_have_all_options() -> None:
    for task in ("symbols", "classes"):
        own = [name for name, one in OPTIONS.items() if task in one.tasks]
        assert list(SweepSpec(task=task).to_dict()) == own
    files = ("templates", "template_settings", "labels", "pretrained", "unlabelled")
    assert {*GOOD, "template", "learning_rate_field", *files} == {*OPTIONS}
    keywords = {name: str(kind) for name, kind in ls.SweepFields.__annotations__.items()}
    assert {*keywords} == {*OPTIONS, "set"}
    for field in dataclasses.fields(SweepSpec):
        if field.name not in ("data", "template", "space", "split", "label", "text", "group"):
            # which may be paths, or lists
            assert str(field.type).removesuffix(" | None") in keywords[field.name]
        assert f"    {field.name}: {OPTIONS[field.name].help}" in (ls.SweepFields.__doc__ or "")
    described = SweepSubmission.model_json_schema()
    assert {*described["properties"]} == {*OPTIONS, "set", "priority"}
    assert described["additionalProperties"] is False
    assert described["properties"]["seed"] == {
        "default": 0, "maximum": 2**64, "minimum": 0, "type": "integer",
        "description": "seed of the sweep",
    }  # fmt: skip
    assert {*Changes.model_json_schema()["properties"]} == {*CHANGEABLE, "spec", "template"}


def test_a_request_has_what_it_needs_and_no_more() -> None:
    with pytest.raises(InputError, match="request: data is missing, expected it"):
        Networks.model_validate({"symbols": "chars"}).given()
    with pytest.raises(InputError, match="'trails' is no field: did you mean 'trials'"):
        from_request({"trails": 5}, Path())
    with pytest.raises(InputError, match=r"'task'\? possible: data, task, symbols"):
        Networks.model_validate({"data": "book.txt", "trials": 5}).given()
    bodies: list[object] = [None, [], "a", 1]
    for body in bodies:
        with pytest.raises(ValueError, match="valid dictionary"):
            SweepSubmission.model_validate(body)


def test_the_help_shows_a_dozen_options_and_all_if_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command, most in (("launch", 18), ("resume", 14)):
        shown = {}
        for option in ("--help", "--help-all"):
            with pytest.raises(SystemExit):
                build_parser().parse_args([command, option])
            shown[option] = re.findall(r"^  (?:-h, )?(--[a-z-]+)", capsys.readouterr().out, re.M)
        assert len(shown["--help"]) <= most and {*shown["--help"]} < {*shown["--help-all"]}
        names = OPTIONS if command == "launch" else CHANGEABLE
        assert {OPTIONS[name].flag for name in names} < {*shown["--help-all"]}


FILE = "trials: 7\nseed: 3\nspace:\n  layers: [1, 2]\n  dropout: 0..0.5\n"


def test_options_go_before_the_file_and_settings_before_both(file: Path) -> None:
    file.write_text(FILE)
    spec = read_spec(file, {"trials": 9}, ["layers=3"])
    assert (spec.trials, spec.seed, spec.keep) == (9, 3, SweepSpec().keep)
    assert spec.space["layers"].values() == [3]
    assert spec.space["dropout"] == Range("dropout", 0.0, 0.5)
    spec = read_spec(file, {"space": "quick"}, ["epochs=1"])
    assert spec.space == presets.QUICK.replace(epochs=Listed("epochs", (1,)))
    with pytest.raises(InputError, match=r"^--trials is 0: "):
        read_spec(file, {"trials": 0}, [])


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


@pytest.mark.parametrize(
    ("address", "on", "said"),
    [
        ("http://head:8265", "ray", "--address is 'http://head:8265': expected auto or HEAD:6379"),
        ("ray://head:10001", "ray", "use a service on the head, or `ray job submit`"),
        (" ", "ray", "--address is ' ': expected auto or HEAD:6379"),
        (7, "ray", "--address is 7: expected auto or HEAD:6379"),
        ("auto", "local", "--address is 'auto', with --on local: expected --on ray with it"),
        ("auto", None, "--address is 'auto', without --on: expected --on ray with it"),
    ],
)
def test_what_is_no_address_of_a_cluster_is_refused(
    address: object, on: str | None, said: str
) -> None:
    with pytest.raises(InputError) as refused:
        ray_address(address, on)
    assert said in str(refused.value)
    for good, engine in ((None, None), (None, "ray"), ("auto", "ray"), ("head:6379", "ray")):
        assert ray_address(good, engine) == good


TRIAL = Trial(sweep="docs-1", number=4, config=TrialConfig(), seed=11)


def test_the_seed_of_a_trial_never_changes() -> None:
    seeds = [trial_seed(0, 0), trial_seed(0, 1), trial_seed(1, 0)]
    assert seeds == [1882578563, 1895158886, 1735666946]


def test_only_accidents_are_tried_again() -> None:
    attempts = {phase: {o: o.most_attempts(phase) for o in Outcome} for phase in Phase}
    again = {o: n for o, n in attempts[Phase.SEARCH].items() if n > 1}
    assert again == {Outcome.LOST: 3, Outcome.OUT_OF_MEMORY: 2}
    assert attempts[Phase.CONFIRM] == attempts[Phase.SEARCH]
    of_ladder = {o for o, n in attempts[Phase.LADDER].items() if n > 1}
    assert of_ladder == {outcome for outcome in Outcome if outcome.is_accident}


@pytest.mark.parametrize(
    "losses, epoch, loss",
    [
        ([], None, None),
        ([2.0], 1, 2.0),
        ([3.0, 1.0, 2.0], 2, 1.0),
        ([3.0, 2.0, 1.0], 3, 1.0),
        ([2.0, 1.0, 1.0], 2, 1.0),  # the first of equals
        ([0.0], 1, 0.0),
        ([1.0, math.inf], 1, 1.0),
    ],
)
def test_the_best_epoch_has_the_lowest_validation_loss(
    losses: list[float], epoch: int | None, loss: float | None
) -> None:
    found = replace(TRIAL, rounds=[{"val_loss": loss} for loss in losses])
    assert (found.best_round, found.best_loss) == (epoch, loss)


def test_a_trial_that_was_read_back_while_it_waited_counts_the_time_of_its_next_stretch() -> None:
    record = TrialRecord(
        **vars(replace(TRIAL, paused="waits", waited=True, seconds=5.0)), tags=Tags.of("r", {})
    )
    again = record.as_driven().with_slot(Slot(0), 100.0)
    assert (again.state, again.with_end(Ended(Outcome.COMPLETE), 110.0).seconds) == ("running", 15)


@pytest.mark.parametrize(
    "seconds, exact, estimate",
    [
        (None, "?", "?"),
        (0.0, "0 s", "0 s"),
        (7.4, "7 s", "7 s"),
        (43.0, "43 s", "45 s"),
        (59.6, "1 min 00 s", "1 min"),  # not 60 s
        (751.0, "12 min 31 s", "13 min"),
        (3_599.6, "1 h 00 min", "1 h"),  # not 60 min
        (4_000.0, "1 h 06 min", "1 h 05 min"),
        (360_000.0, "100 h 00 min", "100 h"),
    ],
)
def test_a_time_is_written_for_people_and_an_estimate_has_no_more_figures_than_it_is_worth(
    seconds: float | None, exact: str, estimate: str
) -> None:
    assert (duration(seconds), time_left_text(seconds)) == (exact, f"about {estimate} left")


def test_a_loss_is_written_to_four_places() -> None:
    assert [loss_text(loss) for loss in (None, 0.0, 1.23456)] == ["-", "0.0000", "1.2346"]
