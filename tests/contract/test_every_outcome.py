"""A sweep with every outcome: what its lines say, and what MLflow shows of each trial."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich.console import Console

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.cli.progress import Lines
from lstm_sweep.search.store import reader
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, store_in, sweep_of, tiny_spec

#: how each trial ends, and whether it has a loss then
ENDS = [
    (Outcome.COMPLETE, True),
    (Outcome.PRUNED, True),
    (Outcome.OUT_OF_TIME, True),
    (Outcome.OUT_OF_TIME, False),
    (Outcome.STOPPED, True),
    (Outcome.STOPPED, False),
    (Outcome.DIVERGED, True),
    (Outcome.HUNG, True),
    (Outcome.ERROR, False),
]


def test_lines_and_statuses_of_every_outcome(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path
) -> None:
    store, text = store_in(workplace("outcomes")), StringIO()
    losses = {number: [3.0 - number / 10] if has else [] for number, (_, has) in enumerate(ENDS)}
    endings = {number: Ended(outcome, "why") for number, (outcome, _) in enumerate(ENDS)}
    spec = tiny_spec(data=str(data), trials=len(ENDS), **PLAIN | {"ladder": False})
    lines = Lines(Console(file=text, width=20))
    engine = ScriptedEngine(losses, endings=endings)
    sweep_of(store, corpus, engine, spec, observer=lines, clock=lambda: 0.0).run()
    said = [line.split(" (uni")[0].split(" (bi")[0] for line in text.getvalue().splitlines()]
    assert said == [
        "[1/9] s/0 complete, loss 3.0000, the best so far, 0 s",
        "[2/9] s/1 pruned, loss 2.9000, the best so far, 0 s",
        "[3/9] s/2 out of time, loss 2.8000, the best so far, 0 s",
        "[4/9] s/3 out of time, 0 s",
        "[5/9] s/4 stopped, loss 2.6000, the best so far, 0 s",
        "[6/9] s/5 stopped, 0 s",
        "[7/9] s/6 diverged, loss 2.4000, 0 s",
        "[8/9] s/7 hung, loss 2.3000, 0 s",
        "[9/9] s/8 error, 0 s",
    ]
    assert {one.trial.number: one.status for one in reader.trials(store, "s")} == {
        0: "FINISHED",
        1: "FINISHED",
        2: "FINISHED",
        3: "FINISHED",
        4: "FINISHED",
        5: "KILLED",
        6: "FAILED",
        7: "FAILED",
        8: "FAILED",
    }
    report = Local(store.settings).status("s")
    assert (report.why, report.best and report.best.trial) == ("all 9 trials are done", "s/4")
    assert reader.existing_sweep(store, "s").info.status == "FINISHED"
