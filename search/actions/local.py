"""`Local`: what can be done in a store, by this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from lstm_sweep.search.actions.deletion import Deleted, Pruned, delete, prune
from lstm_sweep.search.actions.dry_run import DryRun, dry_run
from lstm_sweep.search.actions.lifecycle import StoppedSweep, launch, pause, resume, stop
from lstm_sweep.search.actions.listings import (
    SweepPage,
    SweepTrials,
    TrialDetails,
    show,
    sweeps,
    trials,
)
from lstm_sweep.search.actions.models import Exported, Rerun, export, rerun
from lstm_sweep.search.actions.network_sizes import SizeReport, size
from lstm_sweep.search.actions.references import means_sweep
from lstm_sweep.search.actions.report import SweepReport, report
from lstm_sweep.search.actions.status_report import SweepStatusReport, follow, status
from lstm_sweep.search.actions.sweep_result import SweepResult, result
from lstm_sweep.search.actions.trial_comparison import TrialComparison, compare
from lstm_sweep.search.driver.observer import SILENT, Observer
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.values.spec import SweepSpec

#: what a sweep is to do; to a service also its fields, which then name files that the service has
Wanted: TypeAlias = SweepSpec | Mapping[str, Any]
#: seconds between two looks at a sweep that is followed
FOLLOW_S = 2.0


@dataclass(frozen=True)
class Local:
    """What can be done in a store, by this process; its functions say what each raises."""

    #: the store; without one, what the settings of the working folder name when it is needed
    given: Settings | None = None

    @cached_property
    def settings(self) -> Settings:
        """Where runs are kept."""
        return self.given or load(Path.cwd())

    def __str__(self) -> str:
        hint = f"; {self.settings.above} has a store" if self.settings.above else ""
        return f"{self.settings}{hint}"

    def sweeps(self, limit: int | None = None) -> SweepPage:
        """The sweeps of the store, the newest first."""
        return sweeps(settings=self.settings, limit=limit)

    def status(self, name: str) -> SweepStatusReport:
        """The state of a sweep."""
        return status(name, settings=self.settings)

    def follow(self, name: str) -> Iterator[SweepStatusReport]:
        """The state of a sweep, and again and again until it has ended."""
        return follow(name, settings=self.settings, every_s=FOLLOW_S)

    def trials(self, name: str, top: int | None = None) -> SweepTrials:
        """The trials of a sweep, the best first."""
        return trials(name, settings=self.settings, top=top)

    def means_sweep(self, reference: str) -> bool:
        """Whether a reference means a sweep, and no trial."""
        return means_sweep(reference, settings=self.settings)

    def result(self, name: str) -> SweepResult:
        """The result of a sweep, or what it has so far."""
        return result(name, settings=self.settings)

    def show(self, reference: str) -> TrialDetails:
        """One trial, round by round."""
        return show(reference, settings=self.settings)

    def compare(self, first: str, other: str) -> TrialComparison:
        """Two trials, or the best ones of sweeps."""
        return compare(first, other, settings=self.settings)

    def report(self, name: str, to: str | None = None) -> SweepReport:
        """The report of a sweep, written to a file if one is given."""
        return report(name, settings=self.settings, to=to)

    def size(self, spec: Wanted) -> SizeReport:
        """What the size rule says of the networks of a space."""
        return size(_whole(spec))

    def dry_run(self, spec: Wanted) -> DryRun:
        """What `launch` would do."""
        return dry_run(_whole(spec), settings=self.settings)

    def launch(
        self,
        spec: Wanted,
        observer: Observer = SILENT,
        interrupts: Interrupts | None = None,
        ray_address: str | None = None,
    ) -> SweepResult:
        """Run a sweep to its end."""
        return launch(
            _whole(spec),
            settings=self.settings,
            observer=observer,
            interrupts=interrupts,
            ray_address=ray_address,
        )

    def resume(
        self,
        name: str,
        changes: Mapping[str, Any],
        spec: Wanted | None = None,
        template: str | None = None,
        observer: Observer = SILENT,
        interrupts: Interrupts | None = None,
        ray_address: str | None = None,
    ) -> SweepResult:
        """Go on with a sweep, to its end."""
        return resume(
            name,
            changes,
            settings=self.settings,
            spec=None if spec is None else _whole(spec),
            template=template,
            observer=observer,
            interrupts=interrupts,
            ray_address=ray_address,
        )

    def stop(self, name: str) -> StoppedSweep:
        """End a sweep that another process drives, or that waits."""
        return stop(name, settings=self.settings)

    def pause(self, name: str) -> StoppedSweep:
        """Let a sweep wait that another process drives."""
        return pause(name, settings=self.settings)

    def delete(self, name: str, *, dry_run: bool = False) -> Deleted:
        """Delete a sweep."""
        return delete(name, settings=self.settings, dry_run=dry_run)

    def prune(
        self, older_than_s: float, *, keep_best: bool = False, dry_run: bool = False
    ) -> Pruned:
        """Delete sweeps that ended long ago."""
        return prune(
            settings=self.settings, older_than_s=older_than_s, keep_best=keep_best, dry_run=dry_run
        )

    def rerun(
        self,
        reference: str,
        changes: Mapping[str, Any] | None = None,
        on: str = "local",
        template: str | None = None,
        observer: Observer = SILENT,
        interrupts: Interrupts | None = None,
    ) -> Rerun:
        """Train a trial again, and compare."""
        return rerun(
            reference,
            settings=self.settings,
            changes=changes,
            engine=on,
            template=template,
            observer=observer,
            interrupts=interrupts,
        )

    def export(
        self,
        reference: str,
        to: str,
        format: str = "keras",
        *,
        unchecked: bool = False,
        register: str | None = None,
    ) -> Exported:
        """Write a model as a folder that works on its own."""
        return export(
            reference,
            to,
            settings=self.settings,
            format=format,
            unchecked=unchecked,
            register=register,
        )


def _whole(spec: Wanted) -> SweepSpec:
    assert isinstance(spec, SweepSpec)
    return spec
