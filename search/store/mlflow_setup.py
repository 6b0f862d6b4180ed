"""How MLflow is imported and configured: silent, without telemetry, and without its own retries."""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
import warnings
from contextlib import AbstractContextManager
from typing import Any

from lstm_sweep.search.process.scoped import Overrides, variable
from lstm_sweep.search.store.settings import Settings

#: held by the thread that imports MLflow
_importing = threading.Lock()
_overrides = Overrides()


def load() -> Any:
    """The module `mlflow`, whose log messages below errors are off if it is imported here.

    A process that has imported it before keeps its own log levels.
    """
    with _importing:
        if "mlflow" not in sys.modules:
            with variable("MLFLOW_DISABLE_TELEMETRY", "true"), warnings.catch_warnings():
                # by tqdm, in a notebook that has no widgets
                warnings.filterwarnings("ignore", "IProgress not found")
                import mlflow
            for name in ("alembic", "mlflow"):  # importing MLflow sets their levels
                logging.getLogger(name).setLevel(logging.ERROR)
            # it logs each failure of a database with a traceback; `faults` reports it in a line
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        import mlflow
    return mlflow


def client(uri: str) -> Any:
    """MLflow's client of a store, whose `update_run` makes one request.

    MLflow's own reads the run before, for its name and the time of its end, which stay anyway.
    """
    mlflow = load()
    from mlflow.entities import RunStatus

    class Client(mlflow.MlflowClient):  # type: ignore[misc, name-defined]
        def update_run(self, run_id: str, status: str) -> None:
            number = RunStatus.from_string(status)
            self._tracking_client.store.update_run_info(run_id, number, None, None)

    return Client(uri, uri)


def applied(settings: Settings) -> AbstractContextManager[None]:
    """Within it, MLflow prints nothing, and fails within the timeout of the settings.

    Only defaults are changed, so that MLflow's environment variables take precedence; except for
    the number of retries, which is 0, since requests are retried by `faults.retry`.
    """
    from mlflow import environment_variables as variables
    from mlflow.store.db import utils

    values = [
        (variables.MLFLOW_DISABLE_TELEMETRY, "default", True),
        (variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT, "default", True),
        (variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, "default", False),
        (variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES, "get", lambda: 0),
        (variables.MLFLOW_HTTP_REQUEST_TIMEOUT, "default", settings.request_timeout_s),
        # a model's requirements are those that are named, not those of a project in this folder
        (variables.MLFLOW_UV_AUTO_DETECT, "default", False),
        (variables.MLFLOW_LOG_UV_FILES, "default", False),
        # the default retries for 100 s, even with a wrong password
        (utils, "MAX_RETRY_COUNT", 1),
        # it says that it checks the example of a model
        (logging.getLogger("mlflow").getChild("pyfunc"), "disabled", True),
    ]
    return _overrides.hold(values)


def read_any_text(client: Any) -> None:
    """Let a client of an SQLite file read texts that are no UTF-8, their bytes escaped.

    One such text, which any program may have written, would otherwise make the whole file
    unreadable. The engine is that of this file only; MLflow shares it within the process.
    """
    from sqlalchemy import event

    engine = client._tracking_client.store.engine
    if not event.contains(engine, "connect", _escape_bytes):
        event.listen(engine, "connect", _escape_bytes)
        engine.dispose()  # connections that are already open


def _escape_bytes(connection: sqlite3.Connection, record: object) -> None:
    connection.text_factory = lambda text: text.decode("utf-8", "backslashreplace")
