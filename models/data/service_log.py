"""A generated log of a shop's services: requests that interleave, retries, and stack traces.

Each request is a session. Its kind decides what is done for it and in what order, so that the end
of a request follows from its beginning. Some requests may have a fault, of `FAULTS`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

#: expressions for `--header` and `--session-by`
HEADER = r"\S+ \S+ [A-Z]+ +\S+ \S+ "
SESSION_BY = r"\[(req-[0-9a-f]{8})\]"
#: requests to learn; and those to judge, and the share of these that is faulty
REQUESTS, JUDGED, FAULTY = 5_000, 4_000, 0.1
SEED = 2026
#: services and levels by what they say; what varies stands in braces
MESSAGES = {
    "accept": ("gateway", "INFO", "{kind} {number} asked for by {verb} from {ip}:{port}"),
    "token": ("auth", "INFO", "token of user {user} is valid for {seconds} s"),
    "expired": ("auth", "WARN", "token of user {user} has expired, issued a new one"),
    "read": ("store", "INFO", "read {count} rows of {kind} in {ms} ms"),
    "cached": ("store", "DEBUG", "cache hit for {kind} {number}"),
    "reserve": ("stock", "INFO", "reserved {count} of item {item} in warehouse {port}"),
    "release": ("stock", "INFO", "released {count} of item {item}"),
    "charge": ("payment", "INFO", "charged {cents} cents to card {card}"),
    "slow": ("payment", "WARN", "no answer of bank {ip} after {ms} ms, try again"),
    "refund": ("payment", "INFO", "refunded {cents} cents to card {card}"),
    "lock": ("store", "ERROR", "deadlock on {kind}, transaction 0x{hex} is rolled back"),
    "commit": ("store", "INFO", "committed transaction 0x{hex} in {ms} ms"),
    "mail": ("mail", "INFO", "queued message {uuid} to user {user}"),
    "index": ("search", "DEBUG", "indexed {kind} {number}, {count} terms"),
    "answer": ("gateway", "INFO", "{kind} {number} answered {status} in {ms} ms"),
    "corrupt": ("store", "ERROR", "checksum of block {number} is wrong, page 0x{hex} dropped"),
}
#: what may be wrong with a request: two steps are done in the wrong order, of which neither its
#: lines nor their number say anything; it breaks off; a step is repeated; a line was never there
FAULTS = ("order", "early", "count", "new")
STEPS = {
    "orders": ("reserve", "charge", "commit", "mail", "index"),
    "refunds": ("refund", "release", "commit", "mail"),
    "items": ("read", "index"),
    "carts": ("reserve", "commit"),
    "returns": ("release", "refund", "commit", "mail"),
}
VERBS = {"items": "GET", "carts": "PUT"}
#: what comes before a step now and then, how likely it is, and lines that go on with it
TROUBLES = {
    "charge": ("slow", 0.15, ()),
    "refund": ("slow", 0.15, ()),
    "read": ("cached", 0.3, ()),
    "commit": (
        "lock",
        0.05,
        (
            "Traceback (most recent call last):",
            '  File "store/transaction.py", line {port}, in commit',
            "    self._flush(rows={count})",
            "DeadlockError: transaction 0x{hex}",
        ),
    ),
}


def service_log(
    requests: int = REQUESTS,
    seed: int = SEED,
    faulty: float = 0,
    found: dict[str, str] | None = None,
) -> Iterator[str]:
    """The lines of a log of so many requests, which interleave; a share of them is `faulty`.

    The fault of each request is put into `found` by its name, "" if it has none.
    """
    draw = Random(seed)
    begin = datetime(2026, 11, 30, 8)  # a log has the time of its machine
    lines = list[tuple[float, int, str]]()
    at, written = 0.0, 0
    for _ in range(requests):
        at += draw.expovariate(20)
        while lines and lines[0][0] < at:
            yield heapq.heappop(lines)[2]
        now = at
        name = f"req-{draw.getrandbits(32):08x}"
        fault = draw.choice(FAULTS) if faulty and draw.random() < faulty else ""
        if found is not None:
            found[name] = fault
        for line in _request(draw, name, fault):
            now += draw.expovariate(30)
            time = (begin + timedelta(seconds=now)).isoformat(" ", "milliseconds")
            written += 1
            heapq.heappush(lines, (now, written, f"{time} {line}"))
    while lines:
        yield heapq.heappop(lines)[2]


def _request(draw: Random, name: str, fault: str) -> Iterator[str]:
    """The records of a request without their times; one may have several lines."""
    kind = draw.choices([*STEPS], (5, 1, 8, 4, 1))[0]
    user, number = draw.randrange(1, 5_000), draw.randrange(1, 90_000)
    said = ["accept", "expired" if draw.random() < 0.1 else "token"]
    for step in STEPS[kind]:
        trouble, likely, _ = TROUBLES.get(step, ("", 0.0, ()))
        while draw.random() < likely:
            said.append(trouble)
        said.append(step)
    said.append("answer")
    inner = range(2, len(said) - 2)
    place = draw.choice([one for one in inner if said[one] != said[one + 1]])
    if fault == "order":
        said[place], said[place + 1] = said[place + 1], said[place]
    elif fault == "early":
        del said[place + 1 :]
    elif fault == "count":
        said[place:place] = [said[place]] * 6
    elif fault == "new":
        said.insert(place, "corrupt")
    after = {trouble: lines for trouble, _, lines in TROUBLES.values()}
    for message in said:
        service, level, text = MESSAGES[message]
        values = {
            "kind": kind, "user": user, "number": number, "verb": VERBS.get(kind, "POST"),
            "ip": ".".join(str(draw.randrange(256)) for _ in range(4)),
            "port": draw.randrange(1, 60_000), "seconds": draw.randrange(60, 3_600),
            "count": draw.randrange(1, 9), "ms": draw.randrange(2, 900), "status": 200,
            "item": draw.randrange(900), "cents": draw.randrange(100, 99_999),
            "card": draw.randrange(1_000, 9_999), "hex": f"{draw.getrandbits(40):x}",
            "uuid": f"{draw.getrandbits(32):08x}-0000-4000-8000-{draw.getrandbits(48):012x}",
        }  # fmt: skip
        lines = (f"{level:5} {service} [{name}] {text}", *after.get(message, ()))
        yield "\n".join(line.format(**values) for line in lines)
