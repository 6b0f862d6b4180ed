"""Log lines: their sessions, records and templates, and what is done with bad ones."""

from __future__ import annotations

import functools
import gzip
import json
import operator
import pickle
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.data import log_lines, service_log, spool
from lstm_sweep.models.data.alphabet import END_NAME, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.log_lines import LineFormat
from lstm_sweep.models.data.sessions import read_sessions
from lstm_sweep.models.data.source import VARIABLE, Source
from lstm_sweep.models.errors import InputError
from tests.unit.models.data.corpus_files import write

HEADER, SESSION_BY = service_log.HEADER, service_log.SESSION_BY


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "service.log"
    path.write_text("\n".join(service_log.service_log(400)) + "\n")
    return path


def corpus_of(data: Path, **how: Any) -> Corpus:
    return load(Source(data=str(data), **{"symbols": "lines", **how}))


def service_corpus(log: Path, **how: Any) -> Corpus:
    return corpus_of(log, **{"header": HEADER, "session_by": SESSION_BY, **how})


def file_of(folder: Path, *lines: str) -> Path:
    path = folder / "a.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_sessions_that_interleave_are_gathered_in_the_order_of_their_first_lines(
    block: int, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (spool, log_lines):
        monkeypatch.setattr(module, "BLOCK", block)
    corpus = service_corpus(log)
    requests: dict[str, int] = {}
    for line in log.read_text().splitlines():
        if "[req-" in line:
            name = line.split("[")[1][:12]
            requests[name] = requests.get(name, 0) + 1
    lengths = np.concatenate([part.session_lengths for part in corpus.splits().values()])
    assert (lengths - 1).tolist() == list(requests.values())
    sessions = read_sessions(str(log), corpus.alphabet, ends=True)
    assert [sessions.name(number) for number in range(len(sessions))] == [*requests]
    assert corpus.alphabet.ends


def test_templates_are_what_the_service_says(log: Path) -> None:
    templates = service_corpus(log).alphabet.symbols
    assert {
        "token of user <NUM> is valid for <NUM> s",
        "charged <NUM> cents to card <NUM>",
        "queued message <UUID> to user <NUM>",
        "no answer of bank <IP> after <NUM> ms, try again",
    } <= {*templates}
    assert not any("Traceback" in str(one) for one in templates)
    assert len(templates) < 40


@pytest.mark.parametrize(
    ("lines", "files", "symbols", "codes"),
    [
        # an early line gets the final template
        ([*(f"user {name} of shop logs in" for name in "abcd" * 5), *["user a logs out"] * 20], {},
         ("user <*> of shop logs in", "user a logs out"), [2] * 20 + [3] * 20),
        # validation lines are not mined
        (["start of job", "end of job"] * 50 + ["end of play"] * 10 + ["start of job"] * 10, {},
         ("start of job", "end of job"), [2, 3] * 50 + [UNKNOWN] * 10 + [2] * 10),
        # templates that people have, which are divided as lines are
        (["Receiving block blk_1 from 10.0.0.1:50010", "Done with 5", "Other"] * 40,
         {"templates": "Receiving block blk_<*> from <*>:50010\nDone with <*>\n\nno <*> seen\n"},
         ("Receiving block blk_<*> from <*>:50010", "Done with <*>"), [2, 3, UNKNOWN] * 40),
        (["user=ann ok", "bye"] * 40,
         {"templates": "user=<*> ok\nbye\n", "template_settings": "extra_delimiters: ['=']\n"},
         ("user <*> ok", "bye"), [2, 3] * 40),
        # more than there may be
        (["one a", "two b c", "three d e f"] * 40,
         {"template_settings": "max_clusters: 2\nmasking: []\n"},
         ("one a", "two b c"), [2, 3, UNKNOWN] * 40),
    ],
)  # fmt: skip
def test_lines_are_the_templates_that_are_mined_or_given_and_others_are_unknown(
    lines: list[str],
    files: dict[str, str],
    symbols: tuple[str, ...],
    codes: list[int],
    tmp_path: Path,
) -> None:
    write(tmp_path, files)
    corpus = corpus_of(file_of(tmp_path, *lines), **{name: str(tmp_path / name) for name in files})
    assert corpus.alphabet.symbols == symbols
    assert np.concatenate([split.codes for split in corpus.splits().values()]).tolist() == codes


def test_a_place_has_the_text_of_its_record_with_the_lines_that_go_on_with_it(log: Path) -> None:
    corpus = service_corpus(log)
    sessions = read_sessions(str(log), corpus.alphabet, ends=True)
    deadlocks = [n for n in range(len(sessions.split)) if "deadlock" in sessions.text(n)]
    assert deadlocks
    for copy in (sessions, pickle.loads(pickle.dumps(sessions))):
        lines = copy.text(deadlocks[0]).split("\n")
        assert len(lines) == 5
        assert lines[4].startswith("DeadlockError")
    assert sessions.text(int(sessions.split.starts[1]) - 1) == END_NAME
    assert "lines go on with the record before them" in sessions.noted


def test_new_lines_are_matched_and_never_mined(log: Path, tmp_path: Path) -> None:
    alphabet = service_corpus(log).alphabet
    head = "2026-12-01 08:00:00.000 INFO  payment [req-0123abcd] "
    new = file_of(tmp_path, f"{head}charged 7 cents to card 1234", f"{head}card 1234 is stolen")
    sessions = read_sessions(str(new), alphabet)
    assert (sessions.split.codes == UNKNOWN).tolist() == [False, True]
    assert sessions.read(0, 2) == ["charged <NUM> cents to card <NUM>", "<unk>"]
    assert sessions.text(1).endswith("card 1234 is stolen")
    assert sessions.noted == "1 records match no template"


@pytest.mark.parametrize(
    "how",
    [
        {"header": r"\S+ \S+ "},
        {"session_by": r"req-\w+"},
        {"session_by": None},
        {"template_settings": "sim_th: 0.9\n"},
        {"templates": "charged <*> cents to card <*>\ntoken of user <*> is valid for <*> s\n"},
    ],
)
def test_the_digest_is_of_the_settings_too(
    log: Path, tmp_path: Path, how: dict[str, str | None]
) -> None:
    for name in {"template_settings", "templates"} & how.keys():
        (tmp_path / "file").write_text(str(how[name]))
        how = how | {name: str(tmp_path / "file")}
    assert service_corpus(log, **how).digest != service_corpus(log).digest
    assert service_corpus(log).digest == service_corpus(log).digest


def test_a_corpus_and_its_alphabet_are_read_back(log: Path, tmp_path: Path) -> None:
    corpus = service_corpus(log)
    corpus.save(tmp_path / "corpus")
    assert Corpus.open(tmp_path / "corpus").alphabet == corpus.alphabet


def test_a_gzip_file_and_folders_of_splits_are_read(log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "service.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert service_corpus(packed).digest == service_corpus(log).digest
    text = log.read_text()
    for split in ("train", "validation", "test"):
        write(tmp_path / "data", {f"{split}/a.log": text})
    corpus = service_corpus(tmp_path / "data")
    assert len(corpus.train) == len(corpus.validation) == len(corpus.test)


def test_fields_of_json_lines_are_symbols_and_sessions(tmp_path: Path) -> None:
    records = [
        {"log.record.template": f"step <{n % 3}>", "at": {"id": n % 7}, "body": "x"}
        for n in range(210)
    ]
    path = file_of(tmp_path, *map(json.dumps, records), "no json", '{"at": {"id": 1}}')
    how = {"symbols": "field=log.record.template", "session_by": "field=at.id"}
    corpus = corpus_of(path, **how)
    assert corpus.alphabet.symbols == ("step <0>", "step <1>", "step <2>")
    assert corpus.train.starts.tolist() == list(range(0, 168, 31))
    assert "1 records without a session are left out; 1 records without the field" in corpus.decided
    sessions = read_sessions(str(path), corpus.alphabet)
    assert [sessions.name(number) for number in range(7)] == list("0123456")


def test_a_raw_line_of_a_prompt_has_the_symbol_of_its_record(tmp_path: Path) -> None:
    lines = [f"10:0{n % 9} job-{n % 7:04} begins on host h{n % 5}" for n in range(60)]
    path = file_of(tmp_path, *lines, *[f"10:11 job-{n:04} ends" for n in range(60)])
    alphabet = corpus_of(path, header=r"\S+ ", session_by=r"job-\d+").alphabet
    assert alphabet.lines
    begins, ends = "<ID> begins on host <*>", "<ID> ends"
    assert alphabet.symbols == (begins, ends)
    given = ["10:01 job-0002 begins on host h9", "10:11 job-0002 ends", ends, "other"]
    assert alphabet.lines.symbols_in(given, alphabet.symbols) == [begins, ends, ends, "other"]


@pytest.mark.parametrize("bound", ["REMEMBERED", "LONGEST_REMEMBERED"])
def test_a_masked_line_that_was_forgotten_is_the_same_symbol(
    bound: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = service_corpus(log)
    monkeypatch.setattr(log_lines, bound, 3)
    again = service_corpus(log)
    assert again.alphabet == corpus.alphabet
    assert again.digest == corpus.digest


GOOD, LONG = b"job 1 begins\njob 1 ends well\n" * 60, b"x" * 3_000_000


@pytest.mark.parametrize(
    ("content", "how", "said"),
    [
        (GOOD + b"caf\xe9 is open\n", {}, "1 bytes that are not UTF-8 are read as U+FFFD"),
        (GOOD + b"\0\0\0hello\0 you\n", {}, "4 bytes 0x00 are left out"),
        (GOOD + LONG + b"\n" + GOOD, {}, "1 lines are cut to 16,384 characters"),
        (GOOD + LONG, {}, "1 lines are cut to 16,384 characters"),
        (GOOD + b"nothing\n", {"session_by": r"job (\d)"}, "1 records without a session are left"),
        (b"  at once\n" + GOOD, {}, "1 lines that go on with no record are left out"),
    ],
    ids=range(6),
)
def test_lines_that_are_odd_are_counted(
    content: bytes, how: dict[str, str], said: str, tmp_path: Path
) -> None:
    write(tmp_path, {"a.log": content})
    assert said in corpus_of(tmp_path / "a.log", **how).decided


@pytest.mark.parametrize(
    ("lines", "how", "why"),
    [
        (["a b"], {"session_by": "req-(.*)"}, "session_by: none of 1 records has a match of 'req-"),
        (["a b"], {"header": "x"}, "header: none of 1 lines begins with a match of 'x', expected"),
        ([" a", "\tb"], {}, "all lines begin with white space, expected records"),
        (["a b"], {"symbols": "field=m"}, "symbols: none of 1 lines is JSON with the field 'm'"),
        (["\n"], {}, "found no lines, expected some"),
        (["a b"], {"session_by": "field=m"}, "session_by: none of 1 records has the field 'm'"),
        (["a b"], {"templates": "/nowhere"}, "/nowhere: No such file or directory, expected a fil"),
    ],
)
def test_a_log_without_records_is_refused_in_one_line(
    lines: list[str], how: dict[str, str], why: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        corpus_of(file := file_of(tmp_path, *lines), **how)
    assert str(refused.value).removeprefix(f"{file}: ").startswith(why)
    assert str(refused.value).startswith("/")


def test_an_expression_that_takes_for_ever_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "SPARE_SECONDS", -0.8)
    before = signal.getsignal(signal.SIGVTALRM)
    path = file_of(tmp_path, "fine", "a" * 60)
    with pytest.raises(InputError, match=r"a\.log:1: the expressions of header, session_by and"):
        corpus_of(path, session_by="(a+)+b|f")
    with pytest.raises(InputError, match="--prompt: the expressions of header"):
        LineFormat(header="(a+)+b").symbols_in(["a" * 60], ["a"])
    with pytest.raises(InputError, match="header has 5,000 characters: expected fewer than 4,096"):
        corpus_of(path, header="a" * 5_000)
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_who_reads_for_others_tells_nothing_of_a_file_that_has_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, settings = file_of(tmp_path, "a b", "c"), tmp_path / "s.yaml"
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for text in ("secret", "secret: 5", "- secret", "*secret", "sim_th: 1\nsecret: 2"):
        settings.write_text(text)
        with pytest.raises(InputError, match=r"s\.yaml: expected YAML with fields of") as refused:
            corpus_of(path, template_settings=str(settings))
        assert "secret" not in str(refused.value)
    settings.write_text("sim_th: 7")
    with pytest.raises(InputError, match="sim_th is 7: expected 0 to 1"):
        corpus_of(path, template_settings=str(settings))


def test_a_sample_of_lines_needs_no_options_and_others_have_no_lines() -> None:
    corpus = load(Source(data="service-log"))
    found = read_sessions("faulty-service-log", corpus.alphabet, ends=True)
    assert (len(found), found.name(0)[:4]) == (service_log.JUDGED, "req-")
    assert (found.split.codes == UNKNOWN).sum() == found.noted.count("104 records match no") * 104
    with pytest.raises(InputError, match="sample workflow-log has ids, the network expects lines"):
        read_sessions("workflow-log", corpus.alphabet)
    for data, symbols, kind in (
        ("python-docs", "lines", "chars"),
        ("service-log", "ids", "lines"),
        ("service-log", "field=a", "lines"),
    ):
        with pytest.raises(InputError, match=f"{data}: is a sample of {kind}, expected symbols"):
            load(Source(data=data, symbols=symbols))


def test_what_looks_like_a_log_is_said_to_be_one(log: Path) -> None:
    assert "it looks like a log: --symbols lines" in load(Source(data=str(log))).decided


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("symbols", ["a", "a"]),
        ("symbols", ["a", 5]),
        ("symbols", ["a", ""]),
        ("lines", None),
        ("lines.more", 1),
        ("lines.header", "("),
        ("lines.session_by", 7),
        ("lines.settings.sim_th", "high"),
        ("lines.settings.depth", 2),
        ("lines.settings.masking", [{"regex_pattern": "(", "mask_with": "X"}]),
        ("lines.settings.masking", [["a", "b"]]),
        ("lines.settings.extra_delimiters", [""]),
        ("lines.settings.py/object", "os.system"),
    ],
)
def test_a_bundle_of_a_stranger_is_checked(path: str, value: object, log: Path) -> None:
    written = json.loads(json.dumps(service_corpus(log).alphabet.to_dict()))
    *outer, last = path.split(".")
    functools.reduce(operator.getitem, outer, written)[last] = value
    with pytest.raises(InputError, match=r"^alphabet: "):
        Alphabet.from_dict(written)


def test_faults_of_a_generated_log_are_what_they_are_said_to_be() -> None:
    faults = dict[str, str]()
    lines = list(service_log.service_log(3_000, 5, 0.1, faults))
    said: dict[str, list[str]] = {name: [] for name in faults}
    for line in lines:
        if found := re.search(SESSION_BY, line.partition("\n")[0]):
            said[found[1]].append(re.sub(r"[0-9a-f]*\d[0-9a-f.-]*", "N", line.partition("] ")[2]))
    usual = [said[name] for name, fault in faults.items() if not fault]
    counts = {tuple(sorted(one)) for one in usual}
    assert {*faults.values()} == {"", *service_log.FAULTS}
    swapped = 0
    for name, fault in faults.items():
        own = said[name]
        assert fault or own[-1].split()[2] == "answered"
        if fault == "early":
            assert not any("answered" in line for line in own)
        if fault == "new":
            assert sum(line.startswith("checksum of block") for line in own) == 1
        if fault == "count":
            assert max(own.count(line) for line in own) >= 7
        if fault == "order":
            swapped += tuple(sorted(own)) in counts and own not in usual
    assert swapped > 0.9 * sum(fault == "order" for fault in faults.values())
