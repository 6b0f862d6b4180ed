"""Makes the users of MLflow's server, as its admin: as whom sweeps write, and as whom pages read.

From the environment: MLFLOW_TRACKING_URI, name and password of the admin as of any client, and
SERVICE_PASSWORD and PAGES_PASSWORD, which the users have from then on.
"""

import contextlib
import os
from collections.abc import Iterator

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

#: each user, and what it may do with the experiments and models of all
USERS = {"service": "EDIT", "pages": "READ"}


@contextlib.contextmanager
def unless_there() -> Iterator[None]:
    """Leave what is there as it is."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def make(server: AuthServiceClient, name: str, password: str, permission: str) -> None:
    """Make a user, or give one that is there this password."""
    with unless_there():
        server.create_user(name, password)
    server.update_user_password(name, password)
    for kind in ("experiment", "registered_model"):
        with unless_there():
            server.grant_user_permission(name, kind, "*", permission)


if __name__ == "__main__":
    admin = AuthServiceClient(os.environ["MLFLOW_TRACKING_URI"])
    for user, permission in USERS.items():
        make(admin, user, os.environ[f"{user.upper()}_PASSWORD"], permission)
