"""Where runs are kept: what a caller says of it, as settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.field_checks import path_text

if TYPE_CHECKING:
    from lstm_sweep.search.store.settings import Settings

#: a folder, an address such as `sqlite:////path/mlflow.db` or `http://host:5000`, or what the
#: command line takes in the working folder: `mlflow.yaml` and `MLFLOW_TRACKING_URI`
StoreLike = str | os.PathLike[str] | None


def settings_of(store: StoreLike) -> Settings:
    """Settings of the store that a caller names.

    In a folder, its `mlflow.yaml` is obeyed; without one, runs are in `mlflow.db` and their files
    in `mlartifacts` there. Relative paths start at the working folder.

    Raises:
        InputError: this is no folder and no address.
    """
    from lstm_sweep.search.store import settings

    if store is None:
        return settings.load(Path.cwd())
    given = path_text("store", store)
    if "://" in given:
        return settings.load(Path.cwd(), given=given)
    try:
        folder = Path(given).expanduser().resolve()
        is_file = folder.is_file()
    except (OSError, RuntimeError, ValueError):
        is_file = True
    if not given or is_file:
        raise InputError(f"store is {shown(given)}: expected a folder or an address")
    if os.path.lexists(folder / settings.FILE):
        others = {"MLFLOW_TRACKING_URI", settings.NAMED}
        kept = {name: value for name, value in os.environ.items() if name not in others}
        return settings.load(folder, kept)
    return settings.load(folder, {}, given="sqlite:///mlflow.db")
