"""Which kind of task a spec or a run is about."""

from __future__ import annotations

from collections.abc import Mapping

from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.run_kind import run_kind
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.search.sweep.task import Task
from lstm_sweep.search.sweep.template_task import TemplateTask

KINDS: tuple[type[Task], ...] = (CorpusTask, TemplateTask)


def task_kind(spec: SweepSpec) -> type[Task]:
    """The kind of task that a spec names."""
    return TemplateTask if spec.template else CorpusTask


def task_kind_of_run(tags: Mapping[str, str]) -> type[Task]:
    """The kind of task that the run with these tags is about."""
    runs = run_kind(tags)
    return next(kind for kind in KINDS if kind.runs is runs)
