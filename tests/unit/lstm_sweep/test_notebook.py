"""A sweep in a notebook shows its progress, and the examples are notebooks."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from lstm_sweep._sweep import observer_of
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.cli.progress import Lines, NotebookTable
from lstm_sweep.search.driver.state import SILENT, SweepState
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome, Slot, Trial
from tests.states import with_trials

ROOT = Path(__file__).resolve().parents[3]


# --- progress -------------------------------------------------------------------------------------


class Cell:
    """The output of a notebook's cell."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.outputs = 0

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        """Make an output."""
        self.outputs += 1
        self.update(data, raw=raw)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        """Change it."""
        self.shown.append(data)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """That of a notebook in which this process is the kernel."""
    found = Cell()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=found.display))
    return found


def running(*losses: float, number: int = 2, ended: Ended | None = None) -> Trial:
    """A trial of sweep `docs`."""
    epochs = [{"val_loss": loss} for loss in losses]
    return Trial(
        sweep="docs", number=number, config=TrialConfig(layer_size=96), seed=0, run_id="run",
        slot=Slot(0, core=0), rounds=epochs, ended=ended,
    )  # fmt: skip


def state(now: float = 0.0, **changes: Any) -> SweepState:
    """A sweep of five trials, of which one has ended."""
    done = running(1.5, 1.25, number=1, ended=Ended(Outcome.COMPLETE))
    slot = Slot(0, core=0)
    new = SweepState(
        name="docs",
        spec=SweepSpec(trials=5),
        run_id="parent",
        slots=(slot,),
        baselines={"naive_bayes": 2.0},
        now=now,
        **changes,
    )
    return with_trials(new, [done], [running(1.75)])


def test_outside_a_notebook_it_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert observer_of(None) is SILENT and observer_of(False) is SILENT
    lines = observer_of(True)
    assert isinstance(lines, Lines)
    lines.said("a line")
    assert capsys.readouterr() == ("", "a line\n")


def test_in_a_notebook_one_output_is_updated(cell: Cell) -> None:
    assert observer_of(False) is SILENT
    table = observer_of(None)
    assert isinstance(table, NotebookTable)
    table.said("corpus: <b>")
    assert cell.outputs == 0
    table.started(state(now=1.0))
    table.update(state(now=1.1))  # too soon
    table.update(state(now=2.0))
    table.ended(state(now=2.1))
    assert (cell.outputs, len(cell.shown)) == (1, 3)
    assert "docs: 1 of 5 trials, best docs/1 1.2500" in cell.shown[1]["text/plain"]


def test_the_table_has_what_runs_what_is_best_and_the_baselines(cell: Cell) -> None:
    table = NotebookTable()
    table.said("corpus: <b> & more")
    table.started(state())
    page = re.sub(r">\s+<", "><", cell.shown[0]["text/html"])
    heads = re.findall(r"<th>([^<]*)</th>", page)
    assert heads[0] == "running" and heads[len(heads) // 2] == "best that have ended"
    first, second = re.findall(r"<tbody><tr>(.*?)</tr></tbody>", page)
    assert first.startswith("<td>docs/2</td>") and first.endswith("<td>1/27</td><td>1.7500</td>")
    assert second.startswith("<td>docs/1</td>") and second.endswith("<td>2/27</td><td>1.2500</td>")
    assert "baselines: naive bayes 2.0000" in page
    assert "corpus: &lt;b&gt; &amp; more" in page
    assert '<progress value="1" max="5"' in page


def test_no_secret_is_shown_in_a_notebook(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "PLANTED")
    table = NotebookTable()
    table.said("no answer: PLANTED")
    table.started(state())
    assert "no answer: ***" in cell.shown[0]["text/html"]


# --- examples -------------------------------------------------------------------------------------


NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_an_example_is_python_without_outputs(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        compile(cell.source, file.name, "exec")
        assert cell.outputs == [] and cell.execution_count is None
    assert len(cells) > 3
