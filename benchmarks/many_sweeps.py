"""What requests to a service cost that has many sweeps in its store, in time of a processor.

    python -m benchmarks.many_sweeps [--sweeps 10010] [--repeats 5]

The sweeps are copies by SQL of one that was submitted and stopped. Each request is made alone,
after the store has changed, and again when it has not; what the service computes meanwhile by
itself, such as its look at the queue, is part of that.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.service import Site, cpu_s
from lstm_sweep.search.store.tags import Tag

#: tables that have more of a run, by its ID
TABLES = ("tags", "params", "metrics", "latest_metrics")
#: requests that are measured
PATHS = (
    "/", "/api/v1/sweeps", "/api/v1/queue", "/api/v1/sweeps/copy-7",
    "/api/v1/sweeps/copy-7/events", "/metrics",
)  # fmt: skip
#: seconds after which no answer is given again
APART_S = 2.0
SWEEP = {"name": "one", "data": "server:words.txt", "trials": 3, "size_rule": "off",
         "space": {"layer_size": 6, "sequence_length": 8}}  # fmt: skip


def copy_sweep(file: Path, count: int) -> None:
    """Add copies of the sweep `one` to a store; only the name, the run and the time differ."""
    with closing(sqlite3.connect(file)) as store, store:
        store.row_factory = sqlite3.Row
        [run] = store.execute("SELECT * FROM runs WHERE name = 'one'").fetchall()
        of = {
            table: store.execute(
                f"SELECT * FROM {table} WHERE run_uuid = ?", (run["run_uuid"],)
            ).fetchall()
            for table in TABLES
        }
        for number in range(count):
            new: dict[str, Any] = {"run_uuid": uuid.uuid4().hex, "name": f"copy-{number}"}
            own = dict(run) | new | {"start_time": run["start_time"] + 1 + number}
            _insert(store, "runs", own)
            for table, rows in of.items():
                for row in rows:
                    told = dict(row) | {"run_uuid": new["run_uuid"]}
                    if table == "tags" and row["key"] == Tag.NAME:
                        told["value"] = new["name"]
                    _insert(store, table, told)


def _insert(store: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    store.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])


def change(file: Path, number: int) -> None:
    """Change something in a store."""
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("UPDATE tags SET value = ? WHERE key = ?", (str(number), Tag.SEED))


def cost_ms(site: Site, path: str, file: Path, *, changed: int, repeats: int) -> float:
    """What the service computes for a request, the mean of several, milliseconds."""
    spent = 0.0
    for number in range(repeats):
        time.sleep(APART_S)
        if changed:
            change(file, changed + number)
        began = cpu_s(site.pid)
        with urllib.request.urlopen(f"{site.told['url']}{path}", timeout=60) as answer:
            answer.readline() if path.endswith("/events") else answer.read()
        spent += cpu_s(site.pid) - began
    return 1000 * spent / repeats


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sweeps", type=int, default=10_010)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        site, file = Site(Path(scratch), 1), Path(scratch) / "mlflow.db"
        site.start("--no-mlflow")
        site.ask("sweeps", SWEEP)
        site.ask("sweeps/one/stop", {})
        site.end()
        copy_sweep(file, given.sweeps - 1)
        site.start("--no-mlflow")
        try:
            after = site.ask("sweeps")["next_page"]
            print(f"{given.sweeps:,} sweeps; computed by the service, ms   changed   unchanged")
            for at, path in enumerate((*PATHS, f"/api/v1/sweeps?page={after}"), start=1):
                cost_ms(site, path, file, changed=0, repeats=1)
                found = [
                    cost_ms(site, path, file, changed=changed, repeats=given.repeats)
                    for changed in (1_000 * at, 0)
                ]
                print(f"{path.partition('=')[0]:<48} {found[0]:>10.0f} {found[1]:>11.0f}")
        finally:
            site.end()


if __name__ == "__main__":
    main()
