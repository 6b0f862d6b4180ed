"""Names of the engines, and the address of a cluster; light enough for the command line."""

from __future__ import annotations

from collections.abc import Mapping

from lstm_sweep.models.errors import InputError, shown

#: each engine, the default first, and where its trials run, for the help of `--on`
ENGINES: Mapping[str, str] = {
    "local": "in processes of their own",
    "inline": "in this process, for a debugger",
    "ray": "on the nodes of a Ray cluster",
}


def ray_address(address: object, on: str | None) -> str | None:
    """Ray's own address of the cluster on which a sweep runs; None for that in `RAY_ADDRESS`.

    Args:
        address: what was given with `--address`; None if nothing was
        on: the engine that was given

    Raises:
        InputError: this is no address of a cluster of which this machine is a node, or `on` is
            another engine.
    """
    if address is None:
        return None
    expected = "expected auto or HEAD:6379 of the cluster of which this machine is a node"
    if not isinstance(address, str) or not address.strip():
        raise InputError(f"--address is {shown(address)}: {expected}")
    if on != "ray":
        found = f"with --on {on}" if on else "without --on"
        raise InputError(f"--address is {shown(address)}, {found}: expected --on ray with it")
    if "://" in address:
        raise InputError(
            f"--address is {shown(address)}: {expected}; from elsewhere use a service on the "
            "head, or `ray job submit`"
        )
    return address
