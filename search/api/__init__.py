"""What can be done with sweeps, as functions of values that return values.

The command line, the service and the Python API are adapters to it. Nothing here prints, leaves the
process, installs a signal handler, or changes the process's environment, working folder or file
descriptors. What is returned is frozen; its `to_dict` is the JSON of the command line. What is
refused is an `InputError`, such as a store that does not answer when it is opened; a store that
fails later is a `StoreError`.
"""

from lstm_sweep.search.actions.deletion import delete, prune
from lstm_sweep.search.actions.dry_run import dry_run
from lstm_sweep.search.actions.lifecycle import launch, pause, resume, stop
from lstm_sweep.search.actions.listings import show, sweeps, trials
from lstm_sweep.search.actions.models import detect, export, generate, rerun
from lstm_sweep.search.actions.network_sizes import size
from lstm_sweep.search.actions.references import means_sweep
from lstm_sweep.search.actions.report import report
from lstm_sweep.search.actions.status_report import BROKEN_OFF, follow, status
from lstm_sweep.search.actions.sweep_result import result
from lstm_sweep.search.actions.trial_comparison import compare

__all__ = [
    "BROKEN_OFF", "compare", "delete", "detect", "dry_run", "export", "follow", "generate",
    "launch", "means_sweep", "pause", "prune", "report", "rerun", "result", "resume", "show",
    "size", "status", "stop", "sweeps", "trials",
]  # fmt: skip
