from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.api.job_files import JobFiles
from lstm_sweep.search.cli import build_parser
from lstm_sweep.search.commands.launch import job_of_launch, job_of_resume, spec_of

TEMPLATE = """
def data():
    return 1, 2, 3, 4

def model(x_train, y_train, x_test, y_test):
    rate = {{choice([0.1, 0.01])}}
    return {'loss': rate, 'status': STATUS_OK}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs" / "old").mkdir(parents=True)
    (tmp_path / "logs" / "a.txt").write_text("aa")
    (tmp_path / "logs" / "old" / "b.txt").write_text("bb")
    (tmp_path / "logs" / ".hidden").write_text("cc")
    (tmp_path / "logs" / "empty").touch()
    (tmp_path / "mine.yaml").write_text("layer_size: [8, 16]\n")
    (tmp_path / "my_template.py").write_text(TEMPLATE)
    yield tmp_path


def launched(*words: str) -> JobFiles:
    arguments = build_parser().parse_args(["launch", *words])
    return job_of_launch(arguments, spec_of(arguments))


def test_options_are_those_that_were_given(here: Path) -> None:
    job = launched(
        "--data", "python-docs", "--trials", "9", "--minutes", "2.5", "--ladder", "off",
        "--halving", "on", "--per-gpu", "auto", "--set", "layer_size=8,16", "--set", "dropout=0",
        "--epochs", "3", "--name", "n", "--json",
    )  # fmt: skip
    assert sorted(job.words) == sorted([
        "launch", "--trials=9", "--minutes=2.5", "--ladder=off", "--halving=on", "--per-gpu=auto",
        "--set=layer_size=8,16", "--set=dropout=0", "--epochs=3", "--name=n", "--data=python-docs",
    ])  # fmt: skip
    assert job.files == {}


@pytest.mark.parametrize(
    "words",
    [
        ["--data", "logs", "--trials", "30", "--ladder", "off", "--set", "dropout=0..0.5"],
        ["--data", "logs", "--space", "mine.yaml", "--epochs", "2", "--seed", "3"],
        ["--space", "quick", "--workers", "2", "--patience", "7", "--size-rule", "warn"],
        ["--template", "my_template.py", "--learning-rate-field", "rate", "--trials", "20"],
    ],
)
def test_the_words_make_the_same_search(
    here: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, job = spec_of(build_parser().parse_args(["launch", *words])), launched(*words)
    there = here / "there"
    for name, file in job.files.items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(file, Path)
        (there / name).write_bytes(file.read_bytes())
    there.mkdir(exist_ok=True)
    monkeypatch.chdir(there)
    found = spec_of(build_parser().parse_args(job.words)).to_dict()
    paths = ("data", "template")
    assert {k: v for k, v in found.items() if k not in paths} == {
        k: v for k, v in wanted.to_dict().items() if k not in paths
    }


def test_a_folder_is_taken_along_without_what_is_hidden_or_empty(here: Path) -> None:
    job = launched("--data", "logs")
    assert job.words[-1] == "--data=data/logs"
    names = ("a.txt", "old/b.txt")
    assert job.files == {f"data/logs/{name}": Path("logs") / name for name in names}


def test_splits_stay_in_their_folders(here: Path) -> None:
    for split in ("train", "validation", "test"):
        (here / "cut" / split).mkdir(parents=True)
        (here / "cut" / split / "x").write_text("x")
    assert set(launched("--data", str(here / "cut")).files) == {
        "data/cut/train/x", "data/cut/validation/x", "data/cut/test/x"
    }  # fmt: skip


def test_a_file_keeps_its_name_also_through_a_link(here: Path) -> None:
    (here / "link").symlink_to("logs/a.txt")
    job = launched("--data", "link")
    assert (job.words[-1], [*job.files]) == ("--data=data/a.txt", ["data/a.txt"])


def test_a_path_on_the_head_is_named_as_it_is_there() -> None:
    job = launched("--data", "head:/srv/logs")
    assert (job.words, job.files) == (["launch", "--data=/srv/logs"], {})
    assert launched("--data", "head:~/logs").words[-1] == "--data=~/logs"


def test_a_sweep_file_goes_along_with_what_it_names(here: Path) -> None:
    (here / "s.yaml").write_text("data: logs/a.txt\nspace: mine.yaml\ntrials: 7\n")
    job = launched("s.yaml", "--seed", "3")
    assert job.words == [
        "launch", "sweep.yaml", "--seed=3", "--data=data/a.txt", "--space=space/mine.yaml"
    ]  # fmt: skip
    assert set(job.files) == {"sweep.yaml", "data/a.txt", "space/mine.yaml"}


def test_a_template_goes_along_alone(here: Path) -> None:
    job = launched("--template", "my_template.py", "--learning-rate-field", "rate")
    assert job.words[-1] == "--template=template/my_template.py"
    assert job.files == {"template/my_template.py": here / "my_template.py"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("missing", "data 'missing': no such file or folder, and no sample"),
        ("head:logs", "data is 'head:logs': expected a whole path on the head"),
        ("logs/empty", "logs/empty: found an empty file, expected symbols"),
        (
            "back\\slash",
            "back\\\\slash: the name is 'data/back\\\\\\\\slash', expected one without",
        ),
        ("byte\udcff", "the name is"),
    ],
)
def test_what_cannot_be_taken_along_is_said(here: Path, data: str, said: str) -> None:
    for name in ("back\\slash", "byte\udcff"):
        (here / name).write_text("x")
    with pytest.raises(InputError, match=re.escape(said).replace(r"\\\\", r"\\+")):
        launched("--data", data)


def resumed(*words: str) -> JobFiles:
    return job_of_resume(build_parser().parse_args(["resume", "s", *words]))


def test_a_sweep_is_resumed_with_the_options_that_were_given(here: Path) -> None:
    job = resumed("--trials", "9", "--on", "ray", "--template", "my_template.py")
    assert set(job.words[2:]) == {
        "--trials=9", "--on=ray", "--template=template/my_template.py"
    }  # fmt: skip
    assert (job.words[:2], set(job.files)) == (["resume", "s"], {"template/my_template.py"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s.yaml"], "s.yaml is given with --address: expected options in its place"),
        (["--template", "none.py"], "^none.py: no such file, expected a Python file"),
    ],
)
def test_a_sweep_cannot_be_resumed_with_files_of_here(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        resumed(*words)
