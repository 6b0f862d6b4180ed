"""`Model`: an exported model, which continues sequences, judges new data or tells classes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lstm_sweep import _tables
from lstm_sweep.models.errors import InputError, path_text, shown

if TYPE_CHECKING:
    import pandas as pd

    from lstm_sweep.models.bundle.bundle import Bundle, TemplateBundle


class Model:
    """A model in a folder that `Trial.export`, or the command line, has written.

    Its network is loaded by each call, in a process of its own on the CPU. That of a template is
    not: it predicts no symbols, and `model.keras` in `folder` is for Keras to load.
    """

    def __init__(
        self, folder: Path, bundle: Bundle | TemplateBundle, version: int | None = None
    ) -> None:
        #: where it lies
        self.folder = folder
        #: version of a registered model that `Trial.export` has made of it; else None
        self.version: int | None = version
        self._bundle = bundle

    def __repr__(self) -> str:
        return f"<Model of trial {self.trial} in {self.folder}>"

    @property
    def trial(self) -> str:
        """The trial that it comes from, `SWEEP/NUMBER`."""
        return self._bundle.trial

    @property
    def config(self) -> dict[str, Any]:
        """How its network was built and trained, or the template's hyperparameters."""
        config = self._bundle.config
        return dict(config) if isinstance(config, dict) else config.to_dict()

    @property
    def metrics(self) -> dict[str, Any]:
        """How good it is: `val_loss`, `test_loss` (nats) and others, as in `metrics.json`.

        Of a template, `loss` is what it has returned.
        """
        return dict(self._bundle.metrics)

    @property
    def symbols(self) -> tuple[str, ...] | tuple[int, ...]:
        """All symbols that it knows: characters, or event ids; none for a template."""
        alphabet = getattr(self._bundle, "alphabet", None)
        return tuple(alphabet.symbols) if alphabet else ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it tells; none if it is no classifier."""
        classes = getattr(self._bundle, "classes", None)
        return classes.names if classes else ()

    @overload
    def generate(
        self,
        prompt: str | Sequence[int | str] = "",
        *,
        length: int = 400,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> str | list[int]: ...

    @overload
    def generate(
        self,
        prompt: str | Sequence[int | str] = "",
        *,
        length: int = 400,
        temperature: float = 1.0,
        count: int,
        seed: int = 0,
    ) -> list[str] | list[list[int]]: ...

    def generate(
        self,
        prompt: str | Sequence[int | str] = "",
        *,
        length: int = 400,
        temperature: float = 1.0,
        count: int | None = None,
        seed: int = 0,
    ) -> Any:
        """What may follow a prompt: a text, or a list of event ids, without the prompt.

        Args:
            prompt: a text, or event ids, as a list or with spaces between them, or lines, as a list
            length: symbols to draw, 1 to 1,000,000; fewer if the model has learned where sessions
                of event ids end, and one ends before
            temperature: 0 takes the likeliest symbol, 1 draws as the network predicts; up to 100
            count: so many sequences, 1 to 1,000, as a list; by default one, by itself
            seed: of the draws; the same seed gives the same sequences
        """
        from lstm_sweep.search.actions.inference import GenerationRequest, generate

        if not isinstance(prompt, Iterable):
            raise InputError(f"prompt is {shown(prompt)}: expected a text or event ids")
        alphabet = getattr(self._bundle, "alphabet", None)
        between = alphabet.between or " " if alphabet else " "
        text = prompt if isinstance(prompt, str) else between.join(map(str, prompt))
        rows = 1 if count is None else count
        request = GenerationRequest(text, length, temperature, rows, seed)
        sequences: Any = generate(str(self.folder), request).sequences()
        return sequences[0] if count is None else sequences

    def detect(
        self,
        data: str | os.PathLike[str],
        *,
        below: float = 0.001,
        candidates: int | None = None,
        top: int = 1000,
        ends: bool = True,
    ) -> pd.DataFrame:
        """What the model does not expect in new data: a row for each such symbol, worst first.

        If the model has learned where sessions of event ids end, their ends are judged too: a
        session that breaks off has the symbol `<end>` at the place after its last one.

        Columns: `session` and `place` in it, from 1; the `symbol`; whether it is `known` from
        training; its `probability`; how many symbols are `likelier` there; the three likeliest,
        `expected`, as mappings with `symbol` and `probability`; those `before` it, up to 12; and of
        a log the record, as `text`.
        `attrs` has the totals: `symbols`, `sessions`, whether `ends` were judged, `loss` (nats),
        `unexpected` symbols, and how many `in_sessions` that have some.

        Args:
            data: a file, a folder, or the name of a sample
            below: a symbol is unexpected if it is less likely than this, 0 to 1, or was never seen
            candidates: or, if this is given, if it is not among so many likeliest
            top: rows at most, 0 to 1,000,000
            ends: whether ends are judged; not if sessions may go on
        """
        from lstm_sweep.search.actions.detection import Rule, detect

        found = detect(
            str(self.folder), path_text("data", data), Rule(below, candidates), top, ends=ends
        )
        return _tables.rest_in_attrs(found.to_dict(), "findings", _tables.FINDING)

    def score(self, data: str | os.PathLike[str], *, ends: bool = True) -> pd.DataFrame:
        """How well the model predicts each session of new data, in their order.

        Columns: `session`; its number of `symbols`; and `loss`, the mean negative log-likelihood of
        these, and of the end if that is judged, in nats.

        Args:
            data: a file, a folder, or the name of a sample
            ends: whether ends are judged; not if sessions may go on
        """
        from lstm_sweep.search.actions.detection import score

        found = score(str(self.folder), path_text("data", data), ends=ends)
        return _tables.frame([vars(one) for one in found], _tables.SCORE)

    def classify(
        self,
        data: str | os.PathLike[str] | Sequence[str | Sequence[int] | Sequence[str]],
        *,
        text: str | None = None,
        label: str | None = None,
        labels: str | os.PathLike[str] | None = None,
        error: float | None = None,
        of: str | None = None,
        precision: float | None = None,
        recall: float | None = None,
        decide: str = "probability",
    ) -> pd.DataFrame:
        """Which class each sequence is of, by a classifier: a row for each, in their order.

        Columns: the name of the `sequence`; its `class`; how its `text` begins; the
        `probability` of it, and the `probabilities` of all, a mapping; with `error` the `set` of
        classes; with `of` whether it is `decided` to be of that class; and its true class, `label`,
        if data say it. `attrs` has the `classes`, what is promised of sets (`promise`), the
        `threshold` of `of`, the `decision` on validation data, and `scores` if there are labels.

        Args:
            data: a file or folder; or sequences: texts, lists of event ids, or lists of log lines
            text: column of a table that has the text
            label: column that has the true class
            labels: a file of sessions and their true classes
            error: share of the sets that lack the true class, 0 to 1
            of: a class that has a threshold of its own, chosen on validation data
            precision: of those that are said to be of it so many are, 0 to 1
            recall: or: of its sequences so many are said to be of it
            decide: the `class` by `probability`: the most probable one, or for the best `macro_f1`
        """
        from lstm_sweep.search.actions.classification import Wish, classify

        is_path = isinstance(data, str | os.PathLike)
        found = classify(
            str(self.folder),
            path_text("data", data) if is_path else list(data),  # type: ignore[arg-type]
            Wish(error, precision, recall, of, decide),
            text=text,
            label=label,
            labels=None if labels is None else path_text("labels", labels),
        )
        return _tables.rest_in_attrs(found.to_dict(), "sequences", _tables.CLASSIFIED)

    def verdicts(
        self,
        data: str | os.PathLike[str],
        *,
        false_alarms: float | None = None,
        false_discoveries: float | None = None,
        calibrate: str | os.PathLike[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        ends: bool = True,
    ) -> pd.DataFrame:
        """Which sessions of new data are abnormal: a row for each of these, the oddest first.

        Columns: `session`; its p-value `p`: of normal sessions no larger share is as odd, on
        average; the score that it is oddest `by`, and `why`, in words; its number of `symbols`; and
        the symbol `at` which it shows, a mapping of what `detect` has in columns. `attrs` has what
        is promised (`promise`), how many sessions simple `rules` would find, signs of a `drift`,
        and with labels the `quality` of all of that.

        Args:
            data: a file, a folder, or the name of a sample
            false_alarms: share of normal sessions that may be called abnormal, 0 to 1; by default
                0.01
            false_discoveries: or, of the sessions that are called abnormal, the share that is not
            calibrate: data with further normal sessions that the model was not trained on
            labels: a file of sessions and whether they are abnormal
            ends: whether sessions are whole; not if they may go on
        """
        from lstm_sweep.search.actions.detection import Alarms, Rule, detect

        more, truth = (
            None if given is None else path_text(name, given)
            for name, given in (("calibrate", calibrate), ("labels", labels))
        )
        found = detect(
            str(self.folder),
            path_text("data", data),
            Rule(0.001),
            0,
            ends=ends,
            alarms=Alarms(false_alarms, false_discoveries),
            calibrate=more,
            labels=truth,
        ).verdicts
        if found.missing:
            raise InputError(f"bundle {self.folder}: {found.missing}")
        return _tables.rest_in_attrs(asdict(found), "abnormal", _tables.VERDICT)


def load(folder: str | os.PathLike[str]) -> Model:
    """The model in a folder that `Trial.export`, or the command line, has written.

    Args:
        folder: the folder
    """
    from lstm_sweep.models.bundle import bundle

    return Model(*bundle.read_any(path_text("folder", folder)))
