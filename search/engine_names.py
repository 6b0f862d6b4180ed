"""Names of the engines; without imports, so that the command line's help may name them too."""

from __future__ import annotations

from collections.abc import Mapping

#: each engine, the default first, and where its trials run, for the help of `--on`
ENGINES: Mapping[str, str] = {
    "local": "in processes of their own",
    "inline": "in this process, for a debugger",
    "ray": "on the nodes of a Ray cluster",
}
