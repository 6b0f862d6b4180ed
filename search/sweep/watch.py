"""Watches over running trials, of a sweep or of a rerun: those that hang are to be ended."""

from __future__ import annotations

from collections.abc import Iterable

from lstm_sweep.search.sweep import health
from lstm_sweep.search.sweep.health import Start
from lstm_sweep.search.trial import Computing, Course, Ended, Message, Outcome, Progressed

#: a driver that has not looked for so many seconds cannot tell who was silent
BLIND_S = 5.0


class Watch:
    """Remembers when trials were heard of; all times are seconds of the driver's clock."""

    def __init__(self, now: float, least_s: float = health.SILENT_S) -> None:
        self._least_s = least_s
        self._looked = now
        #: trials that have not reported yet, by their run
        self._starts: dict[str, Start] = {}
        #: the longest time that a trial took to its first report; None before any was seen
        self._longest_start: float | None = None

    def hear(self, course: Course, message: Message, now: float) -> None:
        """A trial has said something."""
        start = self._start_of(course)
        if isinstance(message, Computing):
            start.computed = now
            return
        failed = isinstance(message, Ended) and message.outcome is not Outcome.COMPLETE
        if course.heard is None and not failed:
            self._longest_start = max(self._longest_start or 0.0, now - start.began)
        course.heard = now
        if isinstance(message, Progressed) and not course.first_progress:
            course.first_progress = now, message.share

    def look(self, courses: Iterable[Course], now: float) -> list[tuple[Course, Ended]]:
        """The trials among those running that hang, and what to call their end."""
        courses = list(courses)
        self._starts = {course.run_id: self._start_of(course) for course in courses}
        blind, self._looked = now - self._looked, now
        if blind > BLIND_S:
            for course in courses:
                self._forgive(course, blind, now)
            return []
        hanging = ((course, self._hung(course, now)) for course in courses)
        return [(course, Ended(Outcome.HUNG, why)) for course, why in hanging if why]

    def _start_of(self, course: Course) -> Start:
        found = self._starts.get(course.run_id)
        return found or self._starts.setdefault(course.run_id, Start(course.began, course.began))

    def _forgive(self, course: Course, seconds: float, now: float) -> None:
        """What a trial has said for so many seconds may not have been heard."""
        if course.heard is not None:
            course.heard = min(now, course.heard + seconds)
        start = self._start_of(course)
        start.began = min(now, start.began + seconds)
        start.computed = min(now, start.computed + seconds)

    def _hung(self, course: Course, now: float) -> str:
        if course.heard is not None:
            return health.hung(course, now, self._least_s)
        template = course.trial.config.returns_loss
        return health.hung_at_start(
            self._start_of(course), now, self._longest_start, template=template
        )
