"""Tags that are read of the run of a sweep, of a trial, and of a baseline."""

from __future__ import annotations

OF_SWEEP = ["sweep.name", "sweep.state", "sweep.reason", "sweep.schema", "sweep.lease",
            "sweep.data", "sweep.seconds", "sweep.corpus_digest", "sweep.spec.0",
            "sweep.slot_seconds", "sweep.template", "sweep.slots", "sweep.stop", "sweep.role",
            "sweep.stop_reason", "sweep.time", "sweep.spec_digest", "sweep.prior",
            "sweep.submitted", "sweep.started", "sweep.queued", "sweep.waits", "sweep.changes",
            "sweep.owner", "sweep.priority", "sweep.client_token", "sweep.submitted_digest",
            "sweep.expected_seconds", "sweep.unconfirmed", "sweep.queue_signature",
            "sweep.spec_signature", "sweep.unknown_share", "sweep.pruned"]  # fmt: skip
OF_TRIAL = ["sweep.name", "sweep.trial", "sweep.attempt", "sweep.phase", "sweep.vals", "sweep.seed",
            "sweep.device", "sweep.config", "sweep.outcome", "sweep.reason", "sweep.curve",
            "sweep.schema", "sweep.data", "sweep.scoring", "sweep.corpus_digest", "sweep.template",
            "sweep.weights", "sweep.rerun_of", "sweep.verdict", "version.keras",
            "mlflow.parentRunId", "sweep.rounds_per_epoch", "sweep.inputs", "sweep.most_rounds",
            "sweep.unfinished", "sweep.scoring_seconds", "sweep.paused", "sweep.steps",
            "sweep.makes_room", "sweep.model_loss", "sweep.driver_died",
            "sweep.unknown_share"]  # fmt: skip
OF_BASELINE = ["sweep.phase", "sweep.baseline"]
