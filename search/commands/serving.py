"""What `export --register` prints: how the model is served, and asked."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.search.api.models import Exported
from lstm_sweep.search.store.registry import Version, column_of, example_session
from lstm_sweep.search.store.settings import Settings, without_password
from lstm_sweep.search.texts.curve import can_encode

#: where the model is served in the commands that are printed
PORT = 5001


def lines(exported: Exported, version: Version, settings: Settings | None) -> Iterator[str]:
    """Lines about a version that was registered, with commands to type if the store is known."""
    yield f"registered: {version.text}"
    if settings is None:
        return
    yield "serve it:"
    yield f"  {serve_command(version, settings)}"
    yield "ask it, from another terminal, once it says that Uvicorn is running:"
    request = request_of(exported.bundle, exported.example)
    body = "@request.json" if request is None else json.dumps(request, ensure_ascii=_ascii_only())
    yield (
        f"  curl http://127.0.0.1:{PORT}/invocations -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)}"
    )
    if request is None:
        yield "  request.json is like serving_input_example.json among the files of the model"


def serve_command(version: Version, settings: Settings) -> str:
    """The command that serves a version on this machine, as one has to type it here.

    MLflow looks for `uvicorn` on the path.
    """
    parts = []
    own = Path(sys.executable).parent
    on_path = shutil.which("mlflow"), shutil.which("uvicorn")
    if on_path != (str(own / "mlflow"), str(own / "uvicorn")):
        parts.append(f"PATH={shlex.quote(str(own))}:$PATH")
    if not settings.origin.endswith("MLFLOW_TRACKING_URI"):
        uri = without_password(settings.mlflow_uri)
        parts.append(f"MLFLOW_TRACKING_URI={shlex.quote(uri)}")
    parts += ["mlflow models serve -m", shlex.quote(version.uri)]
    return " ".join([*parts, f"--env-manager local --port {PORT}"])


def _ascii_only() -> bool:
    """Whether this terminal shows no more; a backslash escape would be another text to a shell."""
    return not can_encode(sys.stdout.encoding or "utf-8")


def request_of(bundle: str, example: str | list[int] | None) -> dict[str, Any] | None:
    """A request to the model of a bundle; None for that of a template.

    It is about `example`, a piece of real data, or else about a few symbols of the alphabet.
    """
    _, content = bundles.read_any(bundle)
    if isinstance(content, bundles.TemplateBundle):
        return None
    alphabet = content.alphabet
    session = {column_of(alphabet): example or example_session(alphabet)}
    return {"dataframe_records": [session], "params": {"top": 3, "length": 20}}
