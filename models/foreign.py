"""A trial whose network and training are a program of the user's: a filled-in hyperas template.

The program calls `fit` itself, so how it goes is heard through a callback that `fit` is given here.
It runs in a thread that waits while nobody asks for what comes next.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import linecache
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import CodeType, ModuleType
from typing import Any

import keras
import numpy as np

from models.events import Diverged, Epoch, LastEpoch, Progress, Result, TemplateEvent
from models.own_files import own_files

#: name under which the program's module can be found
MODULE = "template"
#: seconds between two reports of progress within an epoch, at least
REPORT_EVERY_S = 0.5
#: rows of what a network was trained on that are kept to check its export with
ROWS = 32


@dataclass(frozen=True)
class UserProgram:
    """A filled-in template."""

    code: CodeType
    #: the user's file, and what stands in it
    file: Path
    source: str
    #: names of the functions that give the data, and that build and train
    data: str
    model: str
    #: names that `data` returns, as far as its text says
    returned: tuple[str, ...] = ()


class TemplateError(ValueError):
    """The program is not what a template should be; the message says what is expected."""


class _Stopped(BaseException):
    """Nobody wants to know how the program goes on."""


Report = Callable[[TemplateEvent], None]


def train(program: UserProgram, weights: Path, inputs: Path) -> Iterator[TemplateEvent]:
    """Run a program and report as it goes; what it raises is raised here.

    A network that it returns is written to `weights`, and some of what it was trained on to
    `inputs`.
    """

    def work(report: Report) -> None:
        with (
            _listening(report) as listener,
            own_files(weights.parent),
            _module(program) as module,
        ):
            returned = _call(program, module)
            result, model = _result(program, returned)
            if model is not None and result.loss is not None:
                _save(model, listener.seen.get(id(model)), weights, inputs)
        report(result)

    return _in_step(work)


def place(error: BaseException, file: Path) -> str:
    """Where in a file an error has come from: `template.py:12`; empty if it has not."""
    found, trace = "", error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file):
            found = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


# --- a thread that waits to be asked --------------------------------------------------------------


def _in_step(work: Callable[[Report], None]) -> Iterator[TemplateEvent]:
    """What `work` reports, each when it is asked for; in between, `work` stands still."""
    heard: SimpleQueue[TemplateEvent | BaseException | None] = SimpleQueue()
    asked = threading.Semaphore(0)
    over = False

    def wait() -> None:
        asked.acquire()
        if over:
            raise _Stopped

    def report(event: TemplateEvent) -> None:
        heard.put(event)
        wait()

    def body() -> None:
        try:
            wait()
            work(report)
            heard.put(None)
        except BaseException as error:  # SystemExit too: it ends a program, not the worker
            heard.put(error)

    thread = threading.Thread(target=body, name=MODULE, daemon=True)
    thread.start()
    try:
        while True:
            asked.release()
            with contextlib.redirect_stdout(sys.stderr):  # what it prints is no result of ours
                event = heard.get()
            if event is None:
                return
            if isinstance(event, SystemExit):
                raise TemplateError("the template ended the program, expected a return") from event
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        over = True
        asked.release()
        thread.join()


# --- the program ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _module(program: UserProgram) -> Iterator[ModuleType]:
    """The program as a module; modules beside its file can be imported meanwhile."""
    module = ModuleType(MODULE)
    module.__file__ = str(program.file)
    lines = program.source.splitlines(keepends=True)
    linecache.cache[str(program.file)] = len(program.source), None, lines, str(program.file)
    sys.modules[MODULE] = module
    sys.path.append(str(program.file.parent))
    try:
        exec(program.code, module.__dict__)
        yield module
    finally:
        sys.path.remove(str(program.file.parent))
        del sys.modules[MODULE]


def _call(program: UserProgram, module: ModuleType) -> object:
    """What `create_model` returns when it is given what `data` does."""
    model = getattr(module, program.model)  # `data` may use the name for something else
    data = getattr(module, program.data)()
    parameters = list(inspect.signature(model).parameters.values())
    names, values = program.returned, data if isinstance(data, tuple | list) else (data,)
    if isinstance(data, Mapping):
        names, values = tuple(map(str, data)), tuple(data.values())
    if len(names) == 1 and names[0] and len(values) != 1:
        values = (data,)  # one value, which is a list
    free = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(parameters) == 1 and parameters[0].name not in names and not free:
        return model(data)
    needed = {p.name for p in parameters if p.default is p.empty}
    if len(names) == len(values):
        named = {name: value for name, value in zip(names, values, strict=True) if name}
        kept = set(vars(module)) if isinstance(data, Mapping) else set()
        for name in set(named) - kept:  # hyperas had them as globals of `create_model`
            setattr(module, name, named[name])
        if needed <= set(named) and not free:
            return model(**{p.name: named[p.name] for p in parameters if p.name in named})
    try:
        inspect.signature(model).bind(*values)
    except TypeError as error:
        raise TemplateError(
            f"{program.data} returned {len(values)} values, expected what {program.model} takes: "
            f"{error}"
        ) from None
    return model(*values)


def _result(program: UserProgram, returned: object) -> tuple[Result, Any]:
    """What the program says of itself, and the network that it returns."""
    given = returned if isinstance(returned, Mapping) else {"loss": returned}
    if given.get("status", "ok") != "ok":
        return Result(None, f"the template returned status '{given['status']}'"), None
    try:
        loss = float(np.asarray(given["loss"]).item())
    except (KeyError, TypeError, ValueError):
        found = f"keys {', '.join(map(str, given))}" if returned is given else repr(returned)[:80]
        raise TemplateError(
            f"{program.model} returned {found}, expected {{'loss': a number, 'status': STATUS_OK}}"
        ) from None
    if not math.isfinite(loss):
        return Result(loss, f"the template returned a loss of {loss}"), None
    model = given.get("model")
    return Result(loss), model if isinstance(model, keras.Model) else None


def _save(model: Any, seen: Any, weights: Path, inputs: Path) -> None:
    """Write a network, and what it has seen; a network that Keras cannot write is let go."""
    partial = weights.with_name(f"partial-{weights.name}")
    try:
        model.save(partial)
    except Exception as error:
        print(f"the network is not kept: {type(error).__name__}: {error}", file=sys.stderr)
        return
    if seen:
        np.savez(inputs, allow_pickle=False, **seen)
    partial.replace(weights)


# --- listening to `fit` ---------------------------------------------------------------------------


@contextlib.contextmanager
def _listening(report: Report) -> Iterator[_Listener]:
    """Give each `fit` a callback that reports."""
    listener, fit = _Listener(report), keras.Model.fit
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def heard(model: Any, *positional: Any, **words: Any) -> Any:
        given = signature.bind(model, *positional, **words)
        listener.see(model, given.arguments.get("x"))
        given.arguments["callbacks"] = _with(given.arguments.get("callbacks"), listener)
        return fit(*given.args, **given.kwargs)

    keras.Model.fit = heard
    try:
        yield listener
    finally:
        del keras.Model.fit  # the one of its base class is back


def _with(callbacks: Any, listener: _Listener) -> Any:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks  # `fit` makes another one of them
    return [*keras.tree.flatten(callbacks or []), listener]


def _first_rows(given: Any) -> Any:
    """Some rows of an array; None for what is none, or cannot be looked at."""
    if not hasattr(given, "shape"):
        return None
    try:
        rows = np.asarray(given[:ROWS])
    except Exception:  # it may be of any library; its training goes on
        return None
    return rows if rows.dtype.kind in "biufU" else None


def _numbers(logs: Any) -> dict[str, float]:
    """What is a number of what Keras reports: its loss first, if it has one."""
    found = {name: np.asarray(value) for name, value in (logs or {}).items()}
    numbers = {name: float(one) for name, one in found.items() if one.ndim == 0}
    return dict(sorted(numbers.items(), key=lambda item: item[0] != "loss"))


class _Listener(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports how each epoch goes; epochs of several calls of `fit` are counted through."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        #: some of what each network was trained on, by the identity of the network
        self.seen: dict[int, dict[str, Any]] = {}
        self._report = report
        self._epoch = 0
        self._began = self._reported = time.monotonic()

    def see(self, model: Any, x: Any) -> None:
        """Keep some of what a network is trained on, if it is arrays."""
        named = x if isinstance(x, dict) else dict(enumerate(keras.tree.flatten(x)))
        kept = {str(name): _first_rows(part) for name, part in named.items()}
        if all(part is not None for part in kept.values()):
            self.seen[id(model)] = kept

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the time."""
        self._epoch += 1
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Report now and then how far the epoch is."""
        if time.monotonic() - self._reported < REPORT_EVERY_S:
            return
        self._reported = time.monotonic()
        found = _numbers(logs)
        self._end_if_diverged(found)
        loss = next(iter(found.values()), math.nan)
        steps = self.params.get("steps") or 0
        self._report(Progress(self._epoch, (batch + 1) / steps if steps else 0.0, loss))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the epoch."""
        found = _numbers(logs)
        self._end_if_diverged(found)
        metrics = {n if n.startswith("val_") else f"train_{n}": value for n, value in found.items()}
        seconds = time.monotonic() - self._began
        last = epoch + 1 >= (self.params.get("epochs") or 0) or self.model.stop_training
        done = LastEpoch if last else Epoch
        self._report(done(self._epoch, metrics | {"epoch_seconds": seconds}))

    def _end_if_diverged(self, found: Mapping[str, float]) -> None:
        """A training step of the user's own may report losses of other names, or none."""
        loss = found.get("loss", 0.0)
        if not math.isfinite(loss):
            self._report(Diverged(self._epoch, f"epoch {self._epoch}: the training loss is {loss}"))
