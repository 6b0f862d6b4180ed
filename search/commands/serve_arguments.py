"""Arguments of `serve` and `pause`; only the standard library is imported."""

from __future__ import annotations

import argparse
from typing import Any

from lstm_sweep.search.commands.option_types import size, whole

#: options that limit what others may send, their defaults, and what they say
LIMITS = (
    ("max-corpus", "10G", "largest file or folder that may be uploaded"),
    ("max-uploads", "50G", "of the disk that all uploads take"),
    ("keep-free", "1G", "of the disk that uploads and bundles leave free"),
)


def add_pause(commands: Any) -> None:
    """Add the command `pause`."""
    command = commands.add_parser("pause", help="let a sweep wait; resume goes on")
    command.add_argument("sweep", metavar="NAME")


def add_serve(commands: Any) -> None:
    """Add the command `serve`."""
    command: argparse.ArgumentParser = commands.add_parser(
        "serve", help="run sweeps that others submit over HTTP"
    )
    command.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="listen there (127.0.0.1)"
    )
    command.add_argument("--port", type=whole, metavar="P", help="its port (default: from 8000)")
    command.add_argument("--store", metavar="URI", help="tracking_uri in place of mlflow.yaml's")
    command.add_argument(
        "--on",
        choices=("local", "ray"),
        default="local",
        help="where trials run: here (local), or on the nodes of a Ray cluster (ray)",
    )
    command.add_argument(
        "--address", metavar="A", help="with --on ray: HEAD:6379 of the cluster, or auto"
    )
    command.add_argument("--slots", type=whole, metavar="N", help="trials at once, of all sweeps")
    command.add_argument("--per-user", type=whole, metavar="N", help="slots of one user at most")
    command.add_argument(
        "--data-root",
        action="append",
        default=[],
        metavar="DIR",
        help="sweeps may use data below it, as server:PATH (repeatable)",
    )
    command.add_argument(
        "--allow-code", action="store_true", help="accept templates, which run with your rights"
    )
    command.add_argument(
        "--no-mlflow", action="store_true", help="start no MLflow server beside it"
    )
    command.add_argument(
        "--mlflow-page",
        metavar="URL",
        help="where browsers find MLflow's pages, such as /mlflow behind a proxy",
    )
    command.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy in front, which says who asks (repeatable; also a network, 10.0.0.0/29)",
    )
    command.add_argument(
        "--user-header",
        metavar="NAME",
        help="header in which the proxy names the user, such as Remote-User",
    )
    command.add_argument(
        "--user-role",
        choices=("read", "run"),
        default="read",
        help="role of users whom the proxy names and who have no token of their name (read)",
    )
    command.add_argument("--login", action="store_true", help="demand a token also on 127.0.0.1")
    for name, default, text in LIMITS:
        command.add_argument(f"--{name}", type=size, metavar="SIZE", help=f"{text} ({default})")
