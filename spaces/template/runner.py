"""Runs one trial of a template: the user's program builds and trains the network itself.

Progress is observed by a callback that is added to every call of `keras.Model.fit`. The program
runs in a thread that is suspended until the next event is requested.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import linecache
import math
import os
import re
import secrets
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import keras
import numpy as np

from lstm_sweep.models.rounds import (
    Diverged,
    Progressed,
    Result,
    RoundDone,
    TemplateEvent,
)
from lstm_sweep.spaces.dimension import Value
from lstm_sweep.spaces.template.template import Template

#: name of the program's module in `sys.modules`
MODULE = "lstm_sweep_template"
#: smallest number of seconds between two `Progressed` events
REPORT_EVERY_S = 0.5
#: rows of training inputs that are kept, to check an export with
ROWS = 32
#: characters of a metric's name, at most: MLflow takes 250, and `train_` comes before
LONGEST_NAME = 200


class TemplateError(ValueError):
    """The program is no valid template; the message says what is expected."""


def train(
    template: Template, values: Mapping[str, Value], weights: Path, inputs: Path
) -> Iterator[TemplateEvent]:
    """Run a template with the values of a config; its progress as events, its exceptions raised.

    A network that it returns is written to `weights`, and the first rows of its training inputs to
    `inputs`.
    """

    def work(report: Report) -> None:
        with (
            _listening(report) as listener,
            own_files(weights.parent),
            _module(template, values) as module,
        ):
            result, model = _result(template, _call(template, module))
            if model is not None and result.loss is not None:
                _save(model, listener.seen.get(id(model)), weights, inputs)
        report(result)

    try:
        yield from events_of(work, MODULE)
    except SystemExit as error:
        raise TemplateError("the template ended the program, expected a return") from error


def place(error: BaseException, file: Path) -> str:
    """Place in a file where an error was raised, such as `template.py:12`, or an empty string."""
    trace = traceback.extract_tb(error.__traceback__)
    lines = [one.lineno for one in trace if one.filename == str(file)]
    return f"{file.name}:{lines[-1]}" if lines else ""


# --- the program ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _module(template: Template, values: Mapping[str, Value]) -> Iterator[ModuleType]:
    """Run the program as a module, its folder first in `sys.path`, as a script's is."""
    module, file, folder = ModuleType(MODULE), str(template.path), str(template.path.parent)
    module.__file__ = file
    lines = template.source.splitlines(keepends=True)
    linecache.cache[file] = len(template.source), None, lines, file
    sys.modules[MODULE] = module
    sys.path.insert(0, folder)
    try:
        exec(template.code(values), module.__dict__)
        yield module
    finally:
        sys.path.remove(folder)
        del sys.modules[MODULE]


def _call(template: Template, module: ModuleType) -> object:
    """Call `data`, then `create_model` with its values, by name or else by position."""
    model = getattr(module, template.model)  # before `data` can change this name
    names, values = _named_values(template, getattr(module, template.data)())
    named = dict(zip(names, values, strict=True)) if len(names) == len(values) else {}
    parameters = inspect.signature(model).parameters
    if {name for name, one in parameters.items() if one.default is one.empty} <= set(named):
        return model(**{name: named[name] for name in parameters if name in named})
    try:
        inspect.signature(model).bind(*values)
    except TypeError as error:
        raise TemplateError(
            f"{template.data} returned {len(values)} values, expected what {template.model} takes: "
            f"{error}"
        ) from None
    return model(*values)


def _named_values(template: Template, data: object) -> tuple[Sequence[str], Sequence[Any]]:
    """The values in what `data` has returned, and their names, empty if unknown."""
    if isinstance(data, Mapping):
        return tuple(map(str, data)), tuple(data.values())
    names, values = template.returned, data if isinstance(data, tuple | list) else (data,)
    if len(names) == 1 and names[0] and len(values) != 1:
        values = (data,)  # a single value that is a list
    return names, values


def _result(template: Template, returned: object) -> tuple[Result, Any]:
    """Convert the return value of `create_model`; return its network, too."""
    given = returned if isinstance(returned, Mapping) else {"loss": returned}
    if given.get("status", "ok") != "ok":
        return Result(None, f"the template returned status '{given['status']}'"), None
    try:
        loss = float(np.asarray(given["loss"]).item())
    except (KeyError, TypeError, ValueError):
        found = f"keys {', '.join(map(str, given))}" if returned is given else repr(returned)[:80]
        raise TemplateError(
            f"{template.model} returned {found}, expected {{'loss': a number, 'status': STATUS_OK}}"
        ) from None
    if not math.isfinite(loss):
        return Result(loss, f"the template returned a loss of {loss}"), None
    model = given.get("model")
    return Result(loss), model if isinstance(model, keras.Model) else None


def _save(model: Any, seen: Any, weights: Path, inputs: Path) -> None:
    """Write a network and inputs it has seen; if Keras cannot write it, only print a message."""
    partial = weights.with_name(f"partial-{weights.name}")
    try:
        model.save(partial)
    except Exception as error:
        print(f"the network is not kept: {type(error).__name__}: {error}", file=sys.stderr)
        return
    if seen:
        # with a prefix, since names of inputs may be those of its arguments
        np.savez(inputs, allow_pickle=False, **{f"in/{name}": rows for name, rows in seen.items()})
    partial.replace(weights)


# --- listening to `fit` ---------------------------------------------------------------------------


@contextlib.contextmanager
def _listening(report: Report) -> Iterator[_Listener]:
    """Within this context, every call of `fit` has a callback that reports."""
    listener, fit = _Listener(report), keras.Model.fit
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def fit_with_listener(model: Any, *positional: Any, **words: Any) -> Any:
        given = signature.bind(model, *positional, **words)
        listener.see(model, given.arguments.get("x"))
        callbacks = given.arguments.get("callbacks") or []
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = callbacks.callbacks  # `fit` makes a new list of them
        given.arguments["callbacks"] = [*keras.tree.flatten(callbacks), listener]
        return fit(*given.args, **given.kwargs)

    keras.Model.fit = fit_with_listener
    try:
        yield listener
    finally:
        del keras.Model.fit  # makes the method of its base class visible again


def _first_rows(given: Any) -> Any:
    """The first rows of an array; None for other values or if reading them fails."""
    if not hasattr(given, "shape"):
        return None
    try:
        rows = np.asarray(given[:ROWS])
    except Exception:  # the array may be of any library; this must not end the training
        return None
    return rows if rows.dtype.kind in "biufU" else None


def _numbers(logs: Any) -> dict[str, float]:
    """Numbers among what Keras and callbacks report, `loss` first, with names for MLflow."""
    found = dict[str, float]()
    for name, value in (logs or {}).items():
        with contextlib.suppress(Exception):  # it may be of any library, and fail in any way
            array = np.asarray(value)
            if array.ndim == 0 and array.dtype.kind in "biufOV":
                written = re.sub(r"[^\w ./-]|/(?=[./]|$)", "_", str(name)[:LONGEST_NAME])
                found[written] = float(array)
    return dict(sorted(found.items(), key=lambda item: item[0] != "loss"))


class _Listener(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports progress and epochs; counts the epochs of all calls of `fit` together."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        #: first rows of the training inputs of each network, by its `id`
        self.seen: dict[int, dict[str, Any]] = {}
        self._report = report
        self._epoch = 0
        self._began = self._reported = time.monotonic()

    def see(self, model: Any, x: Any) -> None:
        """Keep the first rows of a network's training inputs, if all are arrays."""
        named = x if isinstance(x, dict) else dict(enumerate(keras.tree.flatten(x)))
        kept = {str(name): _first_rows(part) for name, part in named.items()}
        if all(part is not None for part in kept.values()):
            self.seen[id(model)] = kept

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch += 1
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._reported < REPORT_EVERY_S:
            return
        self._reported = time.monotonic()
        found = _numbers(logs)
        self._end_if_diverged(found)
        loss = next(iter(found.values()), math.nan)
        steps = self.params.get("steps") or 0
        self._report(Progressed(self._epoch, (batch + 1) / steps if steps else 0.0, loss))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        found = _numbers(logs)
        self._end_if_diverged(found)
        metrics = {n if n.startswith("val_") else f"train_{n}": value for n, value in found.items()}
        seconds = time.monotonic() - self._began
        last = epoch + 1 >= (self.params.get("epochs") or 0) or self.model.stop_training
        metrics["round_seconds"] = seconds
        self._report(RoundDone(self._epoch, metrics, last=bool(last)))

    def _end_if_diverged(self, found: Mapping[str, float]) -> None:
        loss = found.get("loss", 0.0)
        if not math.isfinite(loss):
            self._report(Diverged(f"epoch {self._epoch}: the training loss is {loss}"))


Report = Callable[[TemplateEvent], None]


class _Cancelled(BaseException):
    """Raised in the thread to end it, when no more events are requested."""


def events_of(work: Callable[[Report], None], name: str) -> Iterator[TemplateEvent]:
    """Run `work` in a thread called `name`, and yield the events that it reports.

    The thread runs only while an event is requested. An exception of `work` is raised here, also a
    `SystemExit`.
    """
    events: SimpleQueue[TemplateEvent | BaseException | None] = SimpleQueue()
    resume = threading.Semaphore(0)
    cancelled = False

    def wait() -> None:
        resume.acquire()
        if cancelled:
            raise _Cancelled

    def report(event: TemplateEvent) -> None:
        events.put(event)
        wait()

    def body() -> None:
        try:
            wait()
            work(report)
            events.put(None)
        except BaseException as error:  # also SystemExit, which must not end the worker
            events.put(error)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    try:
        while True:
            resume.release()
            with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to results
                event = events.get()
            if event is None:
                return
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        cancelled = True
        resume.release()
        thread.join()


#: functions of `keras.saving` with the path of a file as an argument -> whether they write it
FILES = {"save_model": True, "save_weights": True, "load_model": False, "load_weights": False}


@contextlib.contextmanager
def own_files(within: Path) -> Iterator[None]:
    """Within this context, a template loads only networks and weights that it has saved itself.

    Trials that run at the same time save under the same names in one working folder. Each file is
    saved to a private folder below `within`, copied to its path, and loaded from that folder.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="files-", dir=within)))

        def put(owner: Any, name: str, new: Any) -> None:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, new)

        for name, saves in FILES.items():
            function = getattr(keras.saving, name)
            own = _redirected(function, "filepath", folder, saves=saves)
            for module in list(sys.modules.values()):
                if getattr(module, "__dict__", {}).get(name) is function:
                    put(module, name, own)
        backup = keras.callbacks.BackupAndRestore
        put(backup, "__init__", _redirected(backup.__init__, "backup_dir", folder, saves=True))
        yield


def _redirected(
    function: Callable[..., Any], argument: str, folder: Path, *, saves: bool
) -> Callable[..., Any]:
    """Lead a relative path into `folder` if it saves or the file exists; and copy what it saves."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def redirected(*positional: Any, **words: Any) -> Any:
        given = signature.bind(*positional, **words)
        path = given.arguments.get(argument)
        place = Path(path) if isinstance(path, str | os.PathLike) and folder.is_dir() else None
        if place is None or place.is_absolute() or "://" in str(path):
            return function(*given.args, **given.kwargs)
        own = folder.joinpath(*("up" if part == ".." else part for part in place.parts))
        if saves or own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            given.arguments[argument] = str(own)
        result = function(*given.args, **given.kwargs)
        if saves and own.is_file():
            _copy(own, place)
        return result

    return redirected


def _copy(file: Path, place: Path) -> None:
    """Copy atomically, by a random name, so that nobody can have planted a link there."""
    partial = place.with_name(f".{secrets.token_hex(8)}-{place.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as source, partial.open("xb") as target:
        shutil.copyfileobj(source, target)
    partial.replace(place)
