"""`Remote`: what can be done by a service, with the values and the errors of `Local`."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from lstm_sweep.models.bundle.bundle import CLASSES, CONFIG
from lstm_sweep.models.data.source import SAMPLES
from lstm_sweep.models.errors import InputError, refusing, shown
from lstm_sweep.search.actions.classification import Classification, Given, Wish
from lstm_sweep.search.actions.connection import Connection, events
from lstm_sweep.search.actions.detection import Alarms, Detection, Rule
from lstm_sweep.search.actions.dry_run import DryRun, SizeReport
from lstm_sweep.search.actions.export import Exported
from lstm_sweep.search.actions.lifecycle import Deleted, Pruned, StoppedSweep
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import (
    RUN_ID,
    DifferentSearchError,
    NothingToDoError,
    Wanted,
    check_sweep_or_trial,
    check_trial,
)
from lstm_sweep.search.actions.rerun import Rerun
from lstm_sweep.search.actions.sweeps import (
    SweepPage,
    SweepReport,
    SweepResult,
    SweepRow,
    SweepStatusReport,
    SweepTrials,
    TrialComparison,
    TrialDetails,
    check_rows,
)
from lstm_sweep.search.actions.transfers import CORPUS, SERVER, download, send_data, unpack
from lstm_sweep.search.actions.watched import Watched, read_value
from lstm_sweep.search.driver.state import SILENT, Observer
from lstm_sweep.search.process.files import (
    become,
    new_folder,
    new_report,
    scratch_beside,
    write_report,
)
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError, StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.values.spec import (
    FILES,
    MAY_CHANGE,
    OPTIONS,
    SweepSpec,
    check_name,
    names_file,
)
from lstm_sweep.spaces.template.template import Template

Value = TypeVar("Value")
#: rows of the longest answer
LARGEST = 1_000
THERE = (SERVER, CORPUS)
#: headers with what is said of a bundle, and of a report
EXPORT, REPORT = "lstm-sweep-export", "lstm-sweep-report"
#: how often a bundle is asked for that is being made, which may take an hour, and seconds between
#: two looks at a rerun
MAKING_TRIES, LOOK_EVERY_S = 1_800, 1.0
#: exit code of a rerun that was given what cannot be used
BAD_INPUT = 2


@dataclass(frozen=True)
class Remote:
    """What can be done by a service.

    Each method returns what that of `Local` does, and raises the same errors, or a `StoreError` if
    the service does not answer for a while.
    """

    service: Connection

    def __str__(self) -> str:
        return self.service.address

    def sweeps(self, limit: int | None = None) -> SweepPage:
        check_rows("limit", limit)
        rows, last = self._rows(SweepRow, "sweeps", limit, "sweeps")
        return SweepPage(rows, last["left_out"], last["next_page"] or "")

    def status(self, name: str) -> SweepStatusReport:
        return self._get(SweepStatusReport, *_sweep(name))

    def follow(self, name: str) -> Iterator[SweepStatusReport]:
        check_name("sweep", name)
        lasting = self._lasting()
        for event in events(lasting.service, name):
            if event.name == "status":
                yield self._value(SweepStatusReport, event.data)
        yield lasting.status(name)

    def trials(self, name: str, top: int | None = None) -> SweepTrials:
        check_rows("top", top)
        rows, last = self._rows(TrialRecord, "trials", top, *_sweep(name), "trials")
        return SweepTrials(rows, last["left_out"], last["next_page"] or "", last["baselines"])

    def means_sweep(self, reference: str) -> bool:
        check_sweep_or_trial(reference)
        if "/" in reference or not RUN_ID.fullmatch(reference):
            return "/" not in reference
        with contextlib.suppress(NoSuchRunError):
            self.status(reference)
            return True
        return False

    def result(self, name: str) -> SweepResult:
        return self._get(SweepResult, *_sweep(name), "result")

    def show(self, reference: str) -> TrialDetails:
        return self._get(TrialDetails, *_trial(reference))

    def compare(self, first: str, other: str) -> TrialComparison:
        for reference in (first, other):
            check_sweep_or_trial(reference)
        return self._get(TrialComparison, "compare", first=first, other=other)

    def report(
        self,
        name: str,
        to: str | None = None,
        *,
        data: str | None = None,
        labels: str | None = None,
    ) -> SweepReport:
        if data or labels:
            raise InputError("found --data or --labels with --server, expected neither: export it")
        path = _sweep(name)
        file = None if to is None else new_report(to)
        answer = self.service.get(*path, "report", accept="text/html")
        with self._understood(REPORT):
            about: dict[str, Any] = json.loads(answer.headers[REPORT])
        html = answer.content.decode("utf-8", "replace")
        if file:
            write_report(file, html)
            about["file"] = str(file)
        return self._value(SweepReport, about | {"html": html})

    def size(self, spec: Wanted) -> SizeReport:
        with self._sending() as sent:
            fields = sent.fields(spec)
            known = [name for name, one in OPTIONS.items() if one.sizes]
            asked = {name: fields[name] for name in (*known, "set") if name in fields}
            return self._post(SizeReport, "sizes", document=asked)

    def dry_run(self, spec: Wanted) -> DryRun:
        with self._sending() as sent:
            found = self._post(DryRun, "dry-runs", document=sent.fields(spec))
        return found.with_places(sent.with_paths)

    def submit(self, spec: Wanted) -> SweepStatusReport:
        """Queue a sweep, and do not wait for it."""
        key = secrets.token_hex(16)
        with self._sending() as sent:
            return self._post(SweepStatusReport, "sweeps", document=sent.fields(spec), key=key)

    def launch(
        self,
        spec: Wanted,
        observer: Observer = SILENT,
        interrupts: Interrupts | None = None,
        ray_address: str | None = None,
    ) -> SweepResult:
        """Let the service run a sweep, and follow it to its end; an interrupt leaves it to run."""
        _refuse_address(ray_address)
        limits = SweepSpec(**{name: field_of(spec, name) for name in ("trials", "minutes")})
        name = self.submit(spec).sweep
        return self._to_the_end(Watched(name, limits, observer, self._value))

    def submit_again(
        self,
        name: str,
        changes: Mapping[str, Any],
        spec: Wanted | None = None,
        template: str | None = None,
    ) -> SweepStatusReport:
        """Queue a sweep again, and do not wait for it."""
        body, path = dict(changes), _sweep(name)
        with self._sending() as sent:
            if spec is not None:
                fields = sent.fields(spec).items()
                body["spec"] = {name: one for name, one in fields if name not in MAY_CHANGE}
            if template is not None:
                body["template"] = sent.template(template)
            return self._post(SweepStatusReport, *path, "resume", document=body)

    def resume(
        self,
        name: str,
        changes: Mapping[str, Any],
        spec: Wanted | None = None,
        template: str | None = None,
        observer: Observer = SILENT,
        interrupts: Interrupts | None = None,
        ray_address: str | None = None,
    ) -> SweepResult:
        """Let the service go on with a sweep, and follow it to its end."""
        _refuse_address(ray_address)
        known = {(one.run_id, one.is_open) for one in self.trials(name)}
        try:
            self.submit_again(name, changes, spec, template)
        except NothingToDoError as error:
            said = str(error).removeprefix(f"sweep {name}: ")
            return replace(self.result(name), unchanged=said)
        return self._to_the_end(Watched(name, SweepSpec(), observer, self._value, told=known))

    def stop(self, name: str) -> StoppedSweep:
        return self._post(StoppedSweep, *_sweep(name), "stop")

    def pause(self, name: str) -> StoppedSweep:
        return self._post(StoppedSweep, *_sweep(name), "pause")

    def delete(self, name: str, *, dry_run: bool = False) -> Deleted:
        """Delete a sweep; each request deletes as much as it has time for."""
        path, done = _sweep(name), Deleted(sweep=name, keeps_best=False)
        with contextlib.suppress(BadRunError):
            self.status(name)
        while True:
            try:
                answer = self.service.send("DELETE", *path, query={"dry_run": dry_run})
            except NoSuchRunError:
                self.service.say(f"sweep {name} is gone, though not every request was answered")
                return replace(done, left=0)
            done = done.with_more(self._value(Deleted, answer.document()))
            if not done.left:
                return done

    def prune(
        self, older_than_s: float, *, keep_best: bool = False, dry_run: bool = False
    ) -> Pruned:
        body = {"older_than_seconds": older_than_s, "keep_best": keep_best, "dry_run": dry_run}
        done = dict[str, Deleted]()
        while True:
            some = self._post(Pruned, "prune", document=body)
            for one in some.sweeps:
                done[one.sweep] = done[one.sweep].with_more(one) if one.sweep in done else one
            if not some.left:
                return Pruned(tuple(done.values()), some.left_out)

    def rerun(
        self,
        reference: str,
        changes: Mapping[str, Any] | None = None,
        on: str = "local",
        template: str | None = None,
        observer: Observer = SILENT,
        interrupts: Interrupts | None = None,
    ) -> Rerun:
        """Let the service train a trial again, and wait for it; an interrupt leaves it to run."""
        path = (*_trial(reference), "reruns")
        body: dict[str, Any] = {"changes": dict(changes or {}), "on": on}
        with self._sending() as sent:
            if template is not None:
                body["template"] = sent.template(template)
            found = self.service.send("POST", *path, document=body, once=True).document()
        with self._understood("a rerun"):
            observer.said(f"training {found['trial']} again (run {found['run_id']})")
        waits, lasting = "", self.service.lasting()
        try:
            while found["state"] in ("queued", "running"):
                if found["why"] and found["why"] != waits:
                    waits = found["why"]
                    self.service.say(f"the rerun {waits}")
                self.service.sleep(LOOK_EVERY_S)
                found = lasting.get("reruns", found["id"]).document()
        except KeyboardInterrupt:
            self.service.say(
                f"{found['trial']} is trained again all the same; `lstm-sweep ui` there shows its "
                f"run"
            )
            raise
        if found["state"] == "failed":
            raise (InputError if found["exit_code"] == BAD_INPUT else StoreError)(found["why"])
        return self._value(Rerun, found["result"])

    def export(
        self,
        reference: str,
        to: str,
        format: str = "keras",
        *,
        unchecked: bool = False,
        register: str | None = None,
    ) -> Exported:
        """Fetch a checked bundle, and write it as a folder that works on its own."""
        folder, service = new_folder(to), self.service
        path = _model(reference)
        asked: dict[str, Any] = {"format": format, "unchecked": unchecked}
        made: Mapping[str, Any] = {}
        if register is not None:
            body = asked | {"model": register}
            made = service.send("POST", *path, "versions", document=body, once=True).document()
        else:  # an earlier request of this user may be under way still, of which 429 speaks
            service.again(
                lambda: service.send("POST", *path, "exports", document=asked, once=True),
                tries=MAKING_TRIES,
                busy=429,
            )
        expected = refusing(f"--to {shown(str(folder))}", "expected a folder to write to")
        with expected, scratch_beside(folder) as scratch:
            headers = download(service, scratch / "bundle.zip", *path, "export", **asked)
            become(unpack(scratch / "bundle.zip", scratch / "unpacked"), folder)
        return self._value(Exported, {**json.loads(headers[EXPORT]), **made, "bundle": str(folder)})

    def classify(
        self,
        reference: str,
        data: str | Sequence[Given],
        wish: Wish | None = None,
        **columns: str | None,
    ) -> Classification:
        """What the classifier of a trial, or of the best one of a sweep, says of new data.

        A bundle that lies here is asked here.
        """
        if (Path(reference) / CLASSES).is_file():
            return Local().classify(reference, data, wish, **columns)
        path, wished = _model(reference), vars(wish or Wish())
        with self._sending() as sent:
            given = sent.fields({"data": data} | columns) if isinstance(data, str) else {}
            body = (given or {"sequences": data}) | wished
            return self._by_bundle(Classification, *path, "classes", document=body)

    def detect(
        self, reference: str, data: str, rule: Rule, alarms: Alarms, **more: Any
    ) -> Detection:
        """What the network of a trial, or of the best one of a sweep, does not expect in new data.

        A bundle that lies here is asked here.
        """
        if (Path(reference) / CONFIG).is_file():
            return Local().detect(reference, data, rule, alarms=alarms, **more)
        path, asked = _model(reference), more | vars(rule) | vars(alarms)
        with self._sending() as sent:
            body = asked | sent.fields({"data": data, "labels": more.get("labels")})
            if more.get("calibrate") is not None:
                body["calibrate"] = sent.fields({"data": more["calibrate"]})["data"]
            return self._by_bundle(Detection, *path, "verdicts", document=body)

    def _by_bundle(self, kind: type[Value], *path: str, document: Mapping[str, Any]) -> Value:
        """What is asked of a bundle, which may have to be made first, as for `export`."""
        return self.service.again(
            lambda: self._post(kind, *path, document=document, once=True),
            tries=MAKING_TRIES,
            busy=429,
        )

    def _lasting(self) -> Remote:
        """The same, asking again until there is an answer."""
        return replace(self, service=self.service.lasting())

    def _value(self, kind: type[Value], document: Any) -> Value:
        with self._understood(kind.__name__):
            value: Value = read_value(kind, document)
            return value

    @contextlib.contextmanager
    def _understood(self, what: str) -> Iterator[None]:
        """Refuse an answer that does not say `what` is wanted of it."""
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise InputError(
                f"{self} answers otherwise than this version expects "
                f"({what}: {shown(str(error))}): expected a service of the same version"
            ) from None

    def _get(self, kind: type[Value], *path: str, **query: Any) -> Value:
        return self._value(kind, self.service.get(*path, **query).document())

    def _post(self, kind: type[Value], *path: str, **more: Any) -> Value:
        return self._value(kind, self.service.send("POST", *path, **more).document())

    def _rows(
        self, kind: type[Value], rows: str, most: int | None, *path: str
    ) -> tuple[tuple[Value, ...], dict[str, Any]]:
        """So many rows, and the last answer, with all that is left out."""
        found, left_out, page = list[Value](), list[str](), ""
        while True:
            limit = LARGEST if most is None else min(most - len(found), LARGEST)
            some = self.service.get(*path, limit=limit, page=page).document()
            with self._understood(rows):
                found += [read_value(kind, row) for row in some[rows]]
                left_out += [one for one in some["left_out"] if one not in left_out]
                page = some["next_page"]
            if page is None or (most is not None and len(found) >= most):
                return tuple(found), some | {"left_out": tuple(left_out)}

    @contextlib.contextmanager
    def _sending(self) -> Iterator[_Sent]:
        """What is sent, while refusals speak of it as sentences at home do."""
        sent = _Sent(self.service)
        try:
            yield sent
        except InputError as error:
            raise sent.told(error) from None

    def _to_the_end(self, watched: Watched) -> SweepResult:
        name, lasting = watched.name, self._lasting()
        try:
            for event in events(lasting.service, name):
                watched.hear(event)
        except KeyboardInterrupt:
            self.service.say(
                f"sweep {name} goes on: `lstm-sweep status {name} --follow` follows it, "
                f"`lstm-sweep stop {name}` ends it"
            )
            raise
        result = lasting.result(name)
        watched.end(result)
        return result


#: what commands and the Python API call
Actions: TypeAlias = Local | Remote


@dataclass
class _Sent:
    """Files that were sent to a service."""

    service: Connection
    #: what the service calls each, its path here, and how it was given
    sent: list[tuple[str, str, str]] = field(default_factory=list)

    def with_paths(self, text: str) -> str:
        """A text of the service with paths of this machine in place of its names of them."""
        for there, path, _ in self.sent:
            text = text.replace(there, path)
        return text

    def told(self, error: InputError) -> InputError:
        """A refusal of the service that speaks of files as one at home does."""
        by_path = isinstance(error, DifferentSearchError)  # which compares files by their path
        text = str(error).removeprefix("request: ")
        for there, path, given in self.sent:
            text = text.replace(there, path if by_path else given)
        return error if text == str(error) else type(error)(text)

    def fields(self, spec: Wanted) -> dict[str, Any]:
        """The fields of a submission, whose data or template are sent unless they are there."""
        given = spec.file_content() if isinstance(spec, SweepSpec) else spec
        fields = {name: value for name, value in given.items() if value is not None}
        if "template" in fields:
            fields["template"] = self.template(fields["template"])
        elif not (data := fields.get("data", "")).startswith(THERE) and data not in SAMPLES:
            fields["data"] = self._send(data, data)
        for name in FILES:
            path = str(fields.get(name, ""))
            if path and names_file(name, path) and not path.startswith(THERE):
                fields[name] = self._send(path, path, name)
        return fields

    def template(self, given: str) -> str:
        """What the service calls a template, which is sent if it takes code."""
        if not self.service.get("ready").document().get("takes_code", True):
            raise InputError(
                f"template {shown(given)}: it is code, which {self.service.address} does not run: "
                f"expected a service that was started with --allow-code"
            )
        if given.startswith(THERE):
            return given
        return self._send(str(Template.read(given).path), given)

    def _send(self, path: str, given: str, field: str = "data") -> str:
        self.sent.append((send_data(self.service, path, field), path, given))
        return self.sent[-1][0]


def field_of(spec: Wanted, name: str) -> Any:
    """A field of a spec, by its default if it is not among fields that were given."""
    given = spec if isinstance(spec, SweepSpec) else SweepSpec
    return spec[name] if isinstance(spec, Mapping) and name in spec else getattr(given, name)


def _sweep(name: str) -> tuple[str, str]:
    check_name("sweep", name)
    return ("sweeps", name)


def _trial(reference: str) -> tuple[str, ...]:
    check_trial(reference)
    sweep, slash, number = reference.rpartition("/")
    return ("sweeps", sweep, "trials", number) if slash else ("runs", reference)


def _model(reference: str) -> tuple[str, ...]:
    """Where the service has a model: by a sweep, or a trial; or a run of either, as it knows."""
    check_sweep_or_trial(reference)
    return _trial(reference) if "/" in reference else ("sweeps", reference)


def _refuse_address(given: str | None) -> None:
    if given is not None:
        raise InputError("--address is given with a service: expected a command without it")
