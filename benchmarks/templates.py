"""How fast the lines of a log become symbols, on one core.

    python -m benchmarks.templates [--lines 300000] [--rounds 3]

Lines of a generated log are read, their header is cut, their session found, what varies masked, and
their template matched. Printed are lines per second of this process's time, the best of some
rounds, and the bars that are held: `BARS`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path

from lstm_sweep.models.data.log_lines import LineFormat, read_log
from lstm_sweep.models.data.service_log import HEADER, SESSION_BY, service_log
from lstm_sweep.models.data.templates import MASKS, TemplateSettings

#: lines a second, at least, by the number of masks
BARS = {3: 150_000, 6: 50_000}
#: of the usual masks those that are among three
THREE = ("UUID", "IP", "NUM")
#: lines of a request on average are more than this
LINES = 5


def masks(count: int) -> tuple[tuple[str, str], ...]:
    """So many of the usual masks."""
    return MASKS if count == len(MASKS) else tuple(one for one in MASKS if one[1] in THREE)


def seconds(file: Path, count: int) -> float:
    """Seconds of this process from a file to the number of each line's template."""
    settings = TemplateSettings(masking=masks(count))
    format = LineFormat(header=HEADER, session_by=SESSION_BY, settings=settings)
    begin = time.process_time()
    log = read_log({"all": [file]}, format)
    log.numbers(log.mined(settings, len(log.lines) * 8 // 10), format)
    return time.process_time() - begin


def main() -> None:
    """Print lines per second."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "service.log"
        with file.open("w", encoding="utf-8") as stream:
            lines = islice(service_log(given.lines // LINES), given.lines)
            stream.writelines(f"{line}\n" for line in lines)
        size = file.stat().st_size
        for count, bar in BARS.items():
            best = min(seconds(file, count) for _ in range(given.rounds))
            print(
                f"{count} masks: {given.lines / best:,.0f} lines/s, {size / best / 1e6:.1f} MB/s "
                f"(at least {bar:,} lines/s)"
            )


if __name__ == "__main__":
    main()
