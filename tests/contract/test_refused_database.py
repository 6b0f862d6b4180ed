"""A database that does not let the program in is asked once."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.conftest import run_program


def test_a_database_that_hangs_up_is_one_clear_line_and_is_not_asked_again(tmp_path: Path) -> None:
    calls = list[object]()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):  # the server is shut down
                while True:
                    connection, caller = server.accept()
                    calls.append(caller)
                    connection.close()

        answering = threading.Thread(target=answer)
        answering.start()
        uri = f"postgresql://127.0.0.1:{server.getsockname()[1]}/runs"
        environment: dict[str, Any] = {"MLFLOW_TRACKING_URI": uri, "PGSSLMODE": "disable"}
        try:
            done = run_program("sweeps", cwd=tmp_path, **environment)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            answering.join()
    assert (done.code, done.out) == (2, "")
    [line] = done.err.splitlines()
    assert line.startswith("lstm-sweep: store postgresql://")
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_is_called_so(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import mlflow.tracking\n"  # before the user changes, who may not read libraries
        "from lstm_sweep.models.errors import InputError\n"
        "from lstm_sweep.search.store.settings import load\n"
        "from lstm_sweep.search.store.tracking import MlflowStore\n"
        "settings = load(Path.cwd())\n"
        "if os.geteuid() == 0:\n    os.setuid(65534)\n"  # root may write anywhere
        "try:\n    MlflowStore(settings)\n"
        "except InputError as error:\n    sys.exit(str(error))\n"
    )
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o555)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 1
    assert f"the folder {folder} cannot be written; expected one that can" in ran.stderr
