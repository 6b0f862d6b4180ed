"""How fast the lines of a log become symbols, and these alarms in a stream, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.templates [--lines 300000] [--rounds 3]

Lines of a generated log are read, their header is cut, their session found, what varies masked, and
their template matched. The same lines, dealt out to 10,000 open sessions in turn, are judged by a
network of 2x64 whose state is carried: sessions side by side, and a line at a time. Printed are
lines per second of this process's time, the best of some rounds, and the bars that are held.
"""

from __future__ import annotations

import argparse
import io
import re
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.log_lines import LineFormat, read_log
from lstm_sweep.models.data.service_log import HEADER, SESSION_BY, service_log
from lstm_sweep.models.data.source import timer
from lstm_sweep.models.data.templates import MASKS, TemplateSettings
from lstm_sweep.models.network.streaming import Lines, Network, OpenSessions
from lstm_sweep.models.normality import SCORES, Calibration, Normality

#: lines a second, at least, by the number of masks
BARS = {3: 150_000, 6: 50_000}
#: events a second of a stream, at least, open sessions, and bytes of lines that come at once
STREAM_BAR, OPEN, BLOCK = 20_000, 10_000, 1 << 17
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
    for _ in log.numbers(log.mined(settings, len(log.lines) * 8 // 10), format):
        pass
    return time.process_time() - begin


def stream_seconds(file: Path, lines: int, size: int) -> float:
    """Seconds of this process for lines of a stream, of which so many bytes come at once."""
    format = LineFormat(header=HEADER, session_by=SESSION_BY)
    log = read_log({"all": [file]}, format)
    alphabet = Alphabet(tuple(log.mined(format.settings, len(log.lines))), ends=True, lines=format)
    config, rng = TrialConfig(layers=2, layer_size=64, state="carried"), np.random.default_rng(0)
    codes = len(alphabet)
    shapes = [(codes, 256), (64, 256), (256,), (64, 256), (64, 256), (256,), (64, codes), (codes,)]
    network = Network(config, [rng.normal(0, 0.1, one).astype(np.float32) for one in shapes])
    normal = Normality.of([np.arange(3, 6)], codes)
    calibration = Calibration(normal, rng.exponential(size=(999, len(SCORES))) + 9)
    sessions = OpenSessions(network, calibration, 0.002, ends=False, most=OPEN)
    with file.open(encoding="utf-8") as stream, timer() as set_timer:
        found = Lines(alphabet, "-", set_timer)
        dealt = (re.sub(SESSION_BY, f"[req-{n % OPEN:08x}]", one) for n, one in enumerate(stream))
        content = io.BytesIO("".join(islice(dealt, lines)).encode())
        begin = time.process_time()
        while block := b"".join(content.readlines(size)):
            sessions.read(found.events(block), 0.0)
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
        for name, size, count in (("side by side", BLOCK, given.lines), ("alone", 1, 10_000)):
            best = min(stream_seconds(file, count, size) for _ in range(given.rounds))
            bar_text = f" (at least {STREAM_BAR:,} lines/s)" if size > 1 else ""
            print(f"stream, {name}: {count / best:,.0f} lines/s{bar_text}")


if __name__ == "__main__":
    main()
