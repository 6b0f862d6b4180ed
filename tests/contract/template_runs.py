"""Templates of a few lines, run as a worker runs them."""

from __future__ import annotations

from pathlib import Path

from lstm_sweep.search.engines import worker
from lstm_sweep.search.engines.worker import TemplateTraining
from lstm_sweep.search.values.trial import Job, Message, RoundDone, Slot, Trial
from lstm_sweep.spaces.template.template import Template

DATA = "import numpy as np\ndef data():\n    return np.ones((20, 3)), np.ones(20)\n"
#: what stands above a template of few lines: 12 lines
ABOVE = f"""{DATA}
import keras
def net(**compiled):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(**{{'optimizer': 'sgd', 'loss': 'mse', **compiled}})
    return model
def create_model(x, y):
    units = {{{{choice([1, 2])}}}}
    model = net()
"""


def job_of(template: Template, folder: Path, seed: int = 1) -> Job:
    config = template.space().middle()
    trial = Trial(sweep="s", number=0, config=config, seed=seed)
    return Job(trial=trial, slot=Slot(0), training=TemplateTraining(template), folder=folder)


def run(template: Template, folder: Path) -> list[Message]:
    return list(worker.run(job_of(template, folder)))


def written(folder: Path, body: str, above: str = ABOVE) -> Template:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "mine.py").write_text(above + lines, encoding="utf-8")
    return Template.read(str(folder / "mine.py"))


def epochs(messages: list[Message]) -> list[RoundDone]:
    return [message for message in messages if isinstance(message, RoundDone)]
