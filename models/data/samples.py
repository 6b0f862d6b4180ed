"""Built-in corpora: a real text, and a generated event log of known entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # programs that only send data to a service have no NumPy
    import numpy as np
    from numpy.typing import NDArray

Session: TypeAlias = "str | NDArray[np.int64]"


@dataclass(frozen=True)
class Sample:
    """A built-in corpus and its description."""

    about: str
    symbols: str
    sessions: Callable[[], Iterator[Session]]


def python_docs() -> Iterator[str]:
    """Yield the help topics of this Python, sorted by name; each is a session."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


@dataclass(frozen=True)
class Workflow:
    """A random process that generates an event log with long-range dependencies.

    Each session is one job. Its first event is its kind (uniform over `kinds`), then follow
    `rounds` rounds, and its last event is determined by its kind. A round begins with an action
    (drawn from `action_probabilities`). Then, until the round ends, each decision draws one of
    three: a heartbeat (probability `heartbeat`), an error followed by a retry (`error`), or the
    acknowledgement of the action, which ends the round. So each event is either drawn by itself or
    determined by earlier events of its session, and each draw is visible in the next event.

    Events: kind k opens with k and closes with 90 + k; action a is 10 + a, acknowledged by 30 + a;
    heartbeat 50; error 60, retry 61.
    """

    kinds: int = 8
    rounds: int = 4
    action_probabilities: tuple[float, ...] = (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)
    heartbeat: float = 0.40
    error: float = 0.06

    HEARTBEAT = 50
    ERROR = 60
    RETRY = 61

    def session(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw one session, `<int64>[events]`."""
        import numpy as np

        kind = int(rng.integers(self.kinds))
        events = [kind]
        for _ in range(self.rounds):
            action = int(rng.choice(len(self.action_probabilities), p=self.action_probabilities))
            events.append(10 + action)
            while (draw := rng.random()) < self.heartbeat + self.error:
                events += [self.HEARTBEAT] if draw < self.heartbeat else [self.ERROR, self.RETRY]
            events.append(30 + action)
        return np.array([*events, 90 + kind])

    def sessions(self, events: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Draw sessions until they hold at least `events` events."""
        import numpy as np

        rng = np.random.default_rng(seed)
        while events > 0:
            session = self.session(rng)
            events -= len(session)
            yield session

    def entropy(self, *, ends: bool) -> float:
        """Conditional entropy of a symbol given its session's past, in nats per symbol.

        That is the entropy of a session divided by its expected length; with `ends`, the end of a
        session is one more symbol, which its last event determines, so it adds none. A round takes
        D = 1 / (1 - heartbeat - error) decisions on average, each an independent draw from
        (heartbeat, error, acknowledgement); it has 1 action, D - 1 interruptions (an error counts
        two events) and 1 acknowledgement.
        """
        acknowledge = 1 - self.heartbeat - self.error
        decisions = 1 / acknowledge
        per_decision = _entropy((self.heartbeat, self.error, acknowledge))
        nats = math.log(self.kinds) + self.rounds * (
            _entropy(self.action_probabilities) + decisions * per_decision
        )
        symbols = 2 + ends + self.rounds * (2 + decisions * (self.heartbeat + 2 * self.error))
        return nats / symbols


def _entropy(probabilities: tuple[float, ...]) -> float:
    return -sum(p * math.log(p) for p in probabilities)


WORKFLOW = Workflow()
WORKFLOW_EVENTS = 100_000
WORKFLOW_SEED = 2026

SAMPLES = {
    "python-docs": Sample(
        "the help topics of this Python, characters, a topic is a session", "chars", python_docs
    ),
    "workflow-log": Sample(
        f"{WORKFLOW_EVENTS:,} generated events of jobs, ids, a job is a session; on average no "
        f"model can score below {WORKFLOW.entropy(ends=True):.4f} nats per symbol, ends of jobs "
        f"included ({WORKFLOW.entropy(ends=False):.4f} per event without them)",
        "ids",
        lambda: WORKFLOW.sessions(WORKFLOW_EVENTS, WORKFLOW_SEED),
    ),
}
