"""Labelled sequences: how they are found, which splits they have, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from lstm_sweep.models.data import reader
from lstm_sweep.models.data.alphabet import Alphabet, Words
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.labelled import (
    LabelledCorpus,
    LabelledSplit,
    given_texts,
    load_labelled,
    looks_labelled,
    read_new,
)
from lstm_sweep.models.data.sessions import read_sessions
from lstm_sweep.models.data.source import VARIABLE, Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.values.spec import SweepSpec
from tests.unit.models.data.corpus_files import write

GOOD, BAD = "a fine film, I liked it {}", "a poor film: so dull {}"
#: thirty texts of each of two classes
ROWS = [(label, text.format(n)) for n in range(30) for label, text in (("pos", GOOD), ("neg", BAD))]
FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["pos", "neg"], "_type": "ClassLabel"},
}


def delimited(separator: str, head: str = "", rows: list[tuple[str, str]] = ROWS) -> str:
    lines = [f'{label}{separator}"{text}"' for label, text in rows]
    return "\n".join([head, *lines] if head else lines) + "\n"


def json_lines(rows: list[tuple[str, str]] = ROWS) -> str:
    return "\n".join(json.dumps({"label": label, "text": text}) for label, text in rows)


def in_folders(root: str, rows: list[tuple[str, str]] = ROWS) -> dict[str, str]:
    return {f"{root}{label}/{n}.txt": text for n, (label, text) in enumerate(rows)}


def texts_of(corpus: LabelledCorpus, split: LabelledSplit) -> list[tuple[str, str]]:
    """Classes and texts of a split, symbols with what stands between them."""
    parts = np.split(split.sequences.codes, split.sequences.starts[1:])
    texts = [corpus.alphabet.between.join(map(str, corpus.alphabet.decode(one))) for one in parts]
    return list(zip([corpus.classes[label] for label in split.labels], texts, strict=True))


def sizes(corpus: LabelledCorpus) -> list[int]:
    return [len(split) for split in corpus.splits().values()]


TSV = delimited("\t")
LOG = "".join(f"job={n // 2} step {'ok' if n % 4 < 2 else 'was not done'}\n" for n in range(80))
JOBS: dict[str, Any] = {"symbols": "lines", "session_by": r"job=(\d+)"}
TABLES: list[tuple[str, dict[str, Any], str]] = [
    ("a.tsv", {"label": "0"}, delimited("\t")),
    ("a.tsv", {"label": "0"}, delimited("\t", "class\treview")),
    ("a.tsv", {"label": "text"}, delimited("\t", "text\tbody")),
    ("a.csv", {"label": "class", "text": "review"}, delimited(",", "class,review")),
    ("a.csv", {"label": "0", "text": "1"}, delimited(";", "class;review")),
    ("a.csv", {"label": "class"}, delimited(",", "class,review").replace("\n", "\r\n")),
    ("a.jsonl", {"label": "label", "text": "text"}, json_lines()),
    ("a.json", {"label": "label"}, f"[{','.join(json_lines().splitlines())}]"),
    # drawn splits do not depend on the order of rows
    ("a.tsv", {"label": "0"}, delimited("\t", rows=ROWS[::-1])),
]


def source_of(files: Mapping[str, str], options: dict[str, Any], folder: Path) -> Source:
    """The first of these files, or its folder, with options of which labels are a file, too."""
    labels = {"labels": str(folder / options["labels"])} if "labels" in options else {}
    data = write(folder, {**files}) / next(iter(files)).partition("/")[0]
    return Source(data=str(data), **(options | labels))


def corpus_of(files: Mapping[str, str], folder: Path, **options: Any) -> LabelledCorpus:
    return load_labelled(source_of(files, {"symbols": "chars"} | options, folder))


@pytest.mark.parametrize(("name", "options", "content"), TABLES)
def test_a_table_has_the_same_rows_however_it_is_written(
    name: str, options: dict[str, Any], content: str, tmp_path: Path
) -> None:
    source = source_of({name: content}, {"symbols": "chars"} | options, tmp_path)
    assert looks_labelled(source)
    corpus, plain = load_labelled(source), corpus_of({"plain.tsv": TSV}, tmp_path, label="0")
    assert corpus.classes == ("neg", "pos") and sizes(corpus) == [48, 6, 6]
    assert {*ROWS} == {row for split in corpus.splits().values() for row in texts_of(corpus, split)}
    assert {*texts_of(corpus, corpus.test)} == {*texts_of(plain, plain.test)}
    assert ("is its header" in corpus.decided) == content.startswith(("class", "text"))


def test_folders_and_data_sets_of_hugging_face_are_found_without_options(tmp_path: Path) -> None:
    columns = {"text": [text for _, text in ROWS], "label": [int(n == "neg") for n, _ in ROWS]}
    written = json.dumps({"info": {"features": FEATURES}})
    table = pyarrow.table(columns).replace_schema_metadata({"huggingface": written})
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = "".join(json.dumps({"text": t, "label": int(n == "neg")}) + "\n" for n, t in ROWS)
    info = {"d/dataset_info.json": json.dumps({"features": FEATURES}), "d/train-0.jsonl": rows}
    write(tmp_path, info | {"d/test-0.jsonl": rows})
    (tmp_path / "d/arrow").mkdir()
    write(tmp_path, in_folders("plain/") | in_folders("e/train/") | in_folders("e/test/", ROWS[:9]))
    write(tmp_path, {"e/train/unsup/0.txt": "no class", "e/README.md": "about", "text/a": "b" * 9})
    write(tmp_path, {"of lines/a/1": "a b", "of lines/b/1": "b a"})
    found = {
        "a.parquet": (("pos", "neg"), [48, 6, 6], "splits drawn by class"),
        "d": (("pos", "neg"), [53, 7, 60], "54 of 60 test sequences are in train, too"),
        "plain": (("neg", "pos"), [48, 6, 6], "splits drawn by class"),
        "e": (("neg", "pos"), [53, 7, 9], "unsup is left out"),
    }
    for name, (classes, lengths, said) in found.items():
        source = Source(data=str(tmp_path / name))
        assert looks_labelled(source), name
        corpus = load_labelled(source)
        assert corpus.alphabet.kind == "words" and "half of all texts have" in corpus.decided
        assert corpus.classes == classes and sum(sizes(corpus)) == sum(lengths), name
        assert sizes(corpus)[2] == lengths[2] and said in corpus.decided, corpus.decided
    for name in ("text", "of lines"):
        assert not looks_labelled(Source(data=str(tmp_path / name)))


def test_rows_of_a_group_stay_in_one_split_and_equal_texts_do_if_they_are_the_group(
    tmp_path: Path,
) -> None:
    rows = [(label, f"{text}{n % 15}") for n, (label, text) in enumerate([*ROWS, *ROWS])]
    lines = "".join(f"{label}\t{text}\t{n % 12}\n" for n, (label, text) in enumerate(rows))
    groups = {text: f"{n % 12}" for n, (_, text) in enumerate(rows)}
    for group, group_of in (("1", str), ("2", groups.__getitem__)):
        corpus = corpus_of({"a.tsv": lines}, tmp_path, label="0", text="1", group=group)
        splits = corpus.splits().values()
        found = [{group_of(text) for _, text in texts_of(corpus, split)} for split in splits]
        assert sum(map(len, found)) == len({*itertools.chain(*found)})
    alone = corpus_of({"a.tsv": lines}, tmp_path, label="0", text="1")
    assert sizes(alone) == [96, 12, 12] and "test sequences are in train, too" in alone.decided
    # each group has both classes, so the more frequent one has none of its own
    mixed = "".join(f"{'a' if n % 3 else 'b'}\tsome text {n}\t{n // 6}\n" for n in range(240))
    corpus = corpus_of({"m.tsv": mixed}, tmp_path, label="0", text="1", group="2")
    assert sizes(corpus) == [192, 24, 24]
    assert all({*split.labels.tolist()} == {0, 1} for split in corpus.splits().values())
    conflict = {"c.tsv": delimited("\t", rows=[*ROWS, ("neg", ROWS[0][1])])}
    said = corpus_of(conflict, tmp_path, label="0").decided
    assert "1 equal ones occur with several classes" in said


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_rows_without_a_group_stay_with_equal_texts(name: str, tmp_path: Path) -> None:
    rows = [
        {"label": label, "text": text} | ({"by": f"{n // 6}"} if n % 3 else {})
        for n, (label, text) in enumerate([*ROWS, *ROWS, *ROWS[:3]])
    ]
    lines = [json.dumps(one) for one in rows]
    if name == "a.tsv":
        lines = ["label\ttext\tby", *("\t".join([*one.values(), ""][:3]) for one in rows)]
    corpus = corpus_of({name: "\n".join(lines)}, tmp_path, label="label", text="text", group="by")
    assert "; rows without a group: 41, equal ones of which stay together" in corpus.decided
    found = [{*texts_of(corpus, split)} for split in corpus.splits().values()]
    assert {sum(row in split for split in found) for row in ROWS[::3]} == {1}


def test_only_groups_are_said_to_be_in_several_splits(tmp_path: Path) -> None:
    source = Source(data=str(tmp_path), label="label", text="text", group="by", symbols="chars")
    for overlap in (False, True):
        for split, rows in (("train", [*ROWS, *ROWS[:3]]), ("test", ROWS[3:6])):
            own = "" if overlap else split
            lines = [f"{label}\t{text}\t{own}{n % 7}\n" for n, (label, text) in enumerate(rows)]
            table = "".join(["label\ttext\tby\n", *lines, "pos\tof none\t\n"])
            write(tmp_path, {f"{split}.tsv": table})
        assert ("groups in several splits: 3" in load_labelled(source).decided) == overlap


def test_sessions_have_the_classes_of_a_list(tmp_path: Path) -> None:
    ids = {"ids": "".join(f"{n % 3} {n % 2 + 5} 7\n" for n in range(40))}
    log = {"log": LOG}
    labels = {"by": "".join(f"{n + 1}\t{'odd' if n % 2 else 'even'}\n" for n in range(40))}
    named = {"names": "session,class\n" + "".join(f"{n},{n % 2}\n" for n in range(40))}
    write(tmp_path, ids | log | labels | named)
    corpus = load_labelled(Source(data=str(tmp_path / "ids"), labels=str(tmp_path / "by")))
    rows = [row for split in corpus.splits().values() for row in texts_of(corpus, split)]
    assert {(label, text.split()[1]) for label, text in rows} == {("even", "5"), ("odd", "6")}
    names: dict[str, Any] = {"data": str(tmp_path / "log"), "labels": str(tmp_path / "names")}
    corpus = load_labelled(Source(**names, **JOBS))
    assert corpus.classes == ("0", "1") and sum(sizes(corpus)) == 40
    assert "; 1 of 41 labels name no session" in corpus.decided  # the header
    assert len({*texts_of(corpus, corpus.train)}) == 2  # the template follows from the class
    new = read_new(Source(**names), corpus.alphabet, corpus.classes)
    assert new.labels is not None and new.labels.tolist() == [0, 1] * 20 and new.names[3] == "3"


def test_new_texts_are_read_by_the_alphabet_of_a_model(tmp_path: Path) -> None:
    files = {"a.tsv": delimited("\t"), "b.txt": "a Fine film\n\nunheard-of\n"}
    write(tmp_path, files | in_folders("c/", ROWS[:6]))
    corpus = load_labelled(Source(data=str(tmp_path / "a.tsv"), label="0", lower_case=True))
    corpus.save(tmp_path / "saved")
    opened = LabelledCorpus.open(tmp_path / "saved")
    assert (opened.alphabet, opened.classes) == (corpus.alphabet, corpus.classes)
    assert texts_of(opened, opened.train) == texts_of(corpus, corpus.train)
    read = {name: read_new(Source(data=str(tmp_path / name), label=label), corpus.alphabet,
                           corpus.classes)
            for name, label in (("a.tsv", "0"), ("b.txt", None), ("c", None))}  # fmt: skip
    assert read["b.txt"].labels is None and read["b.txt"].names == ("b.txt:1", "b.txt:3")
    assert corpus.alphabet.decode(read["b.txt"].sequences.codes)[1:4] == ["fine", "film", "<unk>"]
    assert read["a.tsv"].labels is not None and read["a.tsv"].labels.tolist() == [1, 0] * 30
    assert read["c"].labels is not None and read["c"].names[0] == "neg/1.txt"
    write(tmp_path, {"stdin": delimited(",", "label,text"), "more": json_lines()})  # have no suffix
    for name in ("stdin", "more"):
        source = Source(data=str(tmp_path / name), text="text", label="label")
        new = read_new(source, corpus.alphabet, corpus.classes)
        assert new.labels is not None and new.labels.tolist() == [1, 0] * 30, name
        assert sizes(load_labelled(source)) == [48, 6, 6]


def refusal(read: Callable[[], object], folder: Path) -> str:
    """What is said of data in that folder that are refused."""
    with pytest.raises(InputError) as refused:
        read()
    return str(refused.value).replace(f"{folder}/", "")


SAID = "label,text\npos,a fine film\n"
#: new data and their options, of a model of texts, of event ids, and of a log
REFUSED_NEW: list[tuple[str, dict[str, str], dict[str, Any], str]] = [
    ("texts", {"a.txt": ""}, {}, "a.txt: found no texts, expected some"),
    ("texts", {"a.csv": SAID + "pos,\n"}, {"text": "text"},
     "a.csv:3: found an empty text, expected symbols"),
    ("texts", {"d/a.txt": "a film", "d/b.txt": ""}, {}, "d/b.txt: found an empty text, expected"),
    ("texts", {"a.txt": "long " * (1 << 20)}, {}, "a.txt:1: found a text of over 4,194,304"),
    ("texts", {"a.csv": SAID + "odd,a\n"}, {"label": "label"},
     "a.csv:3: found the class 'odd', possible: neg, pos"),
    ("ids", {"a.txt": "5 7\n5 x\n"}, {}, "a.txt:2: found 'x', expected an event id: an integer"),
    ("ids", {"a.txt": "5 7\n", "by": "1 none\n"}, {"labels": "by"},
     "--labels by: found the class 'none', possible: even, odd"),
    ("ids", {"a.txt": "5 7\n", "by": "1\n"}, {"labels": "by"},
     "by:1: expected the name of a session and its class"),
    ("lines", {"log": "job=1 step ok\n", "by": "7 1\n"}, {"labels": "by"},
     "--labels 'by': names none of the sessions, expected names such as '1'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "files", "options", "sentence"), REFUSED_NEW)
def test_new_data_that_cannot_be_classified_are_refused_in_one_line(
    kind: str, files: dict[str, str], options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    ids = "".join(f"{n % 2 + 5} 7\n" for n in range(40))
    by = "".join(f"{n + 1} {'odd' if n % 2 else 'even'}\n" for n in range(40))
    jobs = "".join(f"{n} {n % 2}\n" for n in range(40))
    known: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
        "texts": ({"data": TSV}, {"label": "0"}),
        "ids": ({"data": ids, "by": by}, {"labels": "by"}),
        "lines": ({"data": LOG, "by": jobs}, {"labels": "by"} | JOBS),
    }
    corpus = load_labelled(source_of(*known[kind], tmp_path / "known"))
    source = source_of(files, options, tmp_path)
    assert refusal(lambda: read_new(source, corpus.alphabet, corpus.classes), tmp_path).startswith(
        sentence
    )


@pytest.mark.parametrize("rows", [ROWS, [("pos", ""), *ROWS]])
def test_validation_texts_are_shown_as_given_while_they_are_there(
    rows: list[tuple[str, str]], tmp_path: Path
) -> None:
    file = write(tmp_path, {"a.jsonl": json_lines(rows)}) / "a.jsonl"
    source = Source(data=str(file), label="label", symbols="words")
    corpus = load_labelled(source)
    numbers = [*range(len(corpus.validation))][::-1]
    given = given_texts(source, corpus, numbers, 300)
    assert {*given} <= {text for _, text in ROWS} and len({*given}) == len(numbers) == 6
    write(tmp_path, {"a.jsonl": json_lines(ROWS[::-1])})
    read = dataclasses.replace(corpus, rows=None)
    assert given_texts(source, read, numbers, 300)[0].endswith(" <unk>")
    for content in (json_lines([("pos", "anew")] * 60), "x"):
        write(tmp_path, {"a.jsonl": content})
        assert given_texts(source, corpus, numbers, 300) == given_texts(source, read, numbers, 300)
    assert [one[:9] for one in given_texts(source, read, [0], 9)] == [given[-1][:9]]


TEXT = "Don't panic: l’été — 3.14 नमस्ते 東京 cafe\u0301s\n"
WORDS = ["Don't", "panic", ":", "l’été", "—", "3", ".", "14", "नमस्ते", "東", "京", "cafe\u0301s"]


def test_words_are_symbols_of_texts_without_classes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Words().split(TEXT) == WORDS
    assert Words(lower_case=True).split(TEXT)[0] == "don't"
    text = "".join(f"The end of the day, word{n}. " for n in range(60))
    path = write(tmp_path, {"a": text}) / "a"
    options: dict[str, Any] = {"data": str(path), "lower_case": True, "vocabulary": 5}
    corpus = load(Source(**options))
    assert corpus.alphabet.symbols == ("the", ",", ".", "day", "end")  # by counts, then by name
    assert Alphabet.from_dict(corpus.alphabet.to_dict()) == corpus.alphabet
    assert corpus.alphabet.decode(corpus.train.codes[:8]) == [
        "the", "end", "<unk>", "the", "day", ",", "<unk>", "."
    ]  # fmt: skip
    monkeypatch.setattr(reader, "BLOCK_BYTES", 7)  # words that are cut by blocks are whole
    assert load(Source(**options)).digest == corpus.digest
    assert read_sessions(str(path), corpus.alphabet).split.codes[:2].tolist() == [2, 6]
    sample = load(Source(data="python-docs", symbols="words", vocabulary=500))
    assert len(sample.alphabet) == 502
    spec = SweepSpec(data=str(path), symbols="words")
    assert spec.space["embedding_size"].values() == [32, 64, 128, 256]


REFUSED: list[tuple[dict[str, str] | dict[str, bytes], dict[str, Any], str]] = [
    ({"a.tsv": TSV + "odd\tone\n"}, {}, "a.tsv: class 'odd' has 1 sequence, expected at least 3"),
    ({"d/train.tsv": TSV, "d/test.tsv": TSV + "new\tx y\n"}, {},
     "d: class 'new' is in the test split only (1 sequence), expected some in train"),
    ({"d/train.tsv": TSV, "d/dev.tsv": TSV + "new\tx y\nnew\tz\n"}, {},
     "d: class 'new' is in the validation split only (2 sequences), expected some in train"),
    (in_folders("d/", [*ROWS, *[("neg", "")] * 9]), {"label": None},
     "d/neg/60.txt: found no text, as in 9 of 69 sequences, expected a text in each"),
    ({"d/train.csv": delimited(",", "l,t"), "d/test.csv": delimited(",", "kind,t")},
     {"label": "l"}, "d/test.csv: --label is 'l': it has no such column, expected one of 'kind'"),
    ({"a.jsonl": json_lines([("", "x y") if n % 2 else row for n, row in enumerate(ROWS)])},
     {"label": "label"}, "a.jsonl:2: found no label, as in 30 of 60 sequences"),
    ({"a.tsv": "l\tt\n" + TSV}, {"label": "l", "group": "speaker"},
     "a.tsv: --group is 'speaker': it has no such column, expected one of 'l', 't', or"),
    ({"a.tsv": TSV + "pos\t" + "long " * (1 << 20)}, {},
     "a.tsv:61: found a text of over 4,194,304 characters, expected at most so many"),
    ({"a.tsv": "".join(f"{n}\tx\n" * 3 for n in range(10_000))}, {},
     "a.tsv: has over 1,000 classes, such as '1000', expected fewer"),
    ({"a.tsv": TSV.replace("neg", "pos")}, {}, "a.tsv: has one class, 'pos', expected at least 2"),
    ({"a.tsv": "l\tt\n" + TSV}, {"label": "lable"},
     "a.tsv: --label is 'lable': it has no such column, expected one of 'l', 't', or "
     "a number: it has 2 columns, numbered from 0"),
    ({"a.tsv": TSV}, {"text": "0"},
     "a.tsv: --label and --text name the same column, '0', expected two"),
    ({"a.tsv": TSV}, {"label": None}, "a.tsv: which column has the classes is not said, expected"),
    ({"a.csv": "l,t,u\n" + "pos,x,y\n" * 9}, {"label": "l"},
     "a.csv: which column has the texts is not said, expected --text with one of 'l', 't', 'u'"),
    ({"a.csv": "l,t\npos,x,y\n"}, {"label": "l"},
     "a.csv:2: found 3 columns, expected 2 as in the first line"),
    ({"a.csv": 'l,t\npos,x\nneg,"y\n'}, {"label": "l"}, "a.csv:3: is no row of a table"),
    ({"a.jsonl": json_lines() + "\n[1, 2]\n"}, {"label": "label"},
     "a.jsonl:61: found [1, 2], expected an object of JSON in each line"),
    ({"a.jsonl": json_lines() + "\n{\n"}, {"label": "label"}, "a.jsonl:61: found '{', expected"),
    ({"a.tsv": TSV.encode() + b"pos\t\xff\n"}, {}, "a.tsv:61: found the byte 0xff, expected text"),
    ({"a.tsv": TSV + "pos\tx\0y\n"}, {}, "a.tsv:61: found the byte 0x00, as binary files have"),
    ({"a.tsv": TSV + "pos\tx 1\n"}, {"symbols": "ids"},
     "a.tsv:1: found 'a', expected event ids with spaces between them"),
    ({"d/train.tsv": TSV, "d/names.tsv": TSV}, {},
     "d: names.tsv is of no split, as others are, expected train, validation or test in the names"),
    ({"d/test.tsv": TSV, "d/valid.tsv": TSV}, {}, "d: found no training split, expected one"),
    ({"d/a.md": "x"}, {}, "d: found no folder per class and no table, expected some: TSV, CSV"),
    ({"d/a/1": "x y", "d/a/2": "y x", "d/b/1": "x", "d/c/1": "z"}, {"label": None},
     "d: class 'a' has 2 sequences, expected at least 3, some for each split"),
    ({"a.parquet": "x" * 99}, {}, "a.parquet: is no table of its kind"),
    ({"a": "1 2\n3 4\n", "by": "1 x\u2028y\n\n1 y\n"}, {"labels": "by"},
     "by:3: session 1 has two labels, expected one"),
    ({"a": "1 2\n3 4\n", "by": "b x\n"}, {"labels": "by"},
     "by: names none of the sessions, expected names such as 'a, session 1'"),
    ({"a": "1 2\n" * 9, "by": "1 x\n2 y\n"}, {"labels": "by"},
     "session a, session 3: found no label, as in 7 of 9 sequences"),
    ({"log": LOG, "by": "".join(f"{n}\t{n % 2}\n" for n in range(0, 40, 2)) + "1\t1\n"},
     {"labels": "by"} | JOBS, "session 3: found no label, as in 19 of 40 sequences, expected a"),
    ({"log": LOG, "by": "0\ta\n1\tb\n0\tb\n"}, {"labels": "by"} | JOBS,
     "by:3: session 0 has two labels, expected one"),
    ({"log": LOG, "by": "x0\ta\nx1\tb\n"}, {"labels": "by"} | JOBS,
     "by: names none of the sessions, expected names such as '0'"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "options", "sentence"), REFUSED)
def test_data_that_cannot_be_learned_from_are_refused_in_one_line(
    files: dict[str, str], options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    label = {} if "labels" in options else {"label": "0"}
    source = source_of(files, label | options, tmp_path)
    found = refusal(partial(load_labelled, source), tmp_path)
    assert found.removeprefix("--labels ").replace("'by'", "by").startswith(sentence), found


def test_what_is_read_for_others_is_not_told_by_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    write(tmp_path, {"a.tsv": "secret\tx\n", "b.jsonl": "secret\n", "c.csv": "secret,b,c\nx,y,z\n"})
    for name, label in (("a.tsv", "0"), ("b.jsonl", "0"), ("c.csv", "b")):
        source = Source(data=str(tmp_path / name), label=label, text="1")
        assert "secret" not in refusal(partial(load_labelled, source), tmp_path), name
