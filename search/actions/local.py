"""`Local`: what can be done in a store, by this process."""

from __future__ import annotations

from lstm_sweep.search.actions import (
    deletion,
    dry_run,
    export,
    lifecycle,
    listings,
    references,
    report,
    rerun,
    status_report,
    sweep_result,
    trial_comparison,
)
from lstm_sweep.search.actions.dry_run import SizeReport
from lstm_sweep.search.actions.references import Here, Wanted, read_here


class Local(Here):
    """What can be done in a store, by this process; each function says what it raises.

    Nothing here prints, leaves the process, installs a signal handler, or changes the process's
    environment, working folder or file descriptors. What is returned is frozen; its `to_dict` is
    the JSON of the command line. What is refused is an `InputError`, such as a store that does not
    answer when it is opened; a store that fails later is a `StoreError`.
    """

    sweeps = listings.sweeps
    status = status_report.status
    follow = status_report.follow
    trials = listings.trials
    show = listings.show
    means_sweep = references.means_sweep
    result = sweep_result.result
    compare = trial_comparison.compare
    report = report.report
    dry_run = dry_run.dry_run
    launch = lifecycle.launch
    resume = lifecycle.resume
    stop = lifecycle.stop
    pause = lifecycle.pause
    delete = deletion.delete
    prune = deletion.prune
    rerun = rerun.rerun
    export = export.export

    def size(self, spec: Wanted) -> SizeReport:
        """What the size rule says of the networks of a space."""
        return dry_run.size(read_here(spec))
