"""Which kind of task a spec or a run is about."""

from __future__ import annotations

from lstm_sweep.search.driver.class_task import ClassTask
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.task import Task, TemplateTask
from lstm_sweep.search.store.reader import run_kind
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import SweepSpec

#: all kinds; the first that accepts a spec has it
KINDS: tuple[type[Task], ...] = (TemplateTask, ClassTask, CorpusTask)


def task_kind(spec: SweepSpec) -> type[Task]:
    return next(kind for kind in KINDS if kind.accepts(spec))


def task_kind_of_run(tags: Tags) -> type[Task]:
    runs = run_kind(tags)
    return next(kind for kind in KINDS if kind.runs is runs)
