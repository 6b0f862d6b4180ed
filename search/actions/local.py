"""`Local`: what can be done in a store, by this process."""

from __future__ import annotations

from lstm_sweep.search.actions import (
    classification,
    detection,
    dry_run,
    export,
    lifecycle,
    references,
    rerun,
)
from lstm_sweep.search.actions import sweeps as of_sweeps
from lstm_sweep.search.actions.references import Here


class Local(Here):
    """What can be done in a store, by this process.

    Nothing here prints, leaves the process, installs a signal handler, or changes the process's
    environment, working folder or file descriptors. What is returned is frozen; its `to_dict` is
    the JSON of the command line. What is refused is an `InputError`, such as a store that does not
    answer when it is opened; a store that fails later is a `StoreError`.
    """

    sweeps = of_sweeps.sweeps
    status = of_sweeps.status
    follow = of_sweeps.follow
    trials = of_sweeps.trials
    show = of_sweeps.show
    means_sweep = references.means_sweep
    result = of_sweeps.result
    compare = of_sweeps.compare
    report = of_sweeps.report
    size = dry_run.size
    dry_run = dry_run.dry_run
    launch = lifecycle.launch
    resume = lifecycle.resume
    stop = lifecycle.stop
    pause = lifecycle.pause
    delete = lifecycle.delete
    prune = lifecycle.prune
    rerun = rerun.rerun
    export = export.export
    classify = staticmethod(classification.classify)
    detect = staticmethod(detection.detect)
