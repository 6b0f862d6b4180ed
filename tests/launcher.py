"""Starts the program without its seconds of imports: forked from a process that has done them.

A start of the program takes 3 to 6 s of CPU, nearly all of it imports. So one process for each
worker of pytest, the launcher, imports what commands import, once. It forks a supervisor for each
start; that forks the program, waits for its end, and sends its exit status. The program has the
folder, the environment, the output and the session that it would have had, and no thread. Its
workers are forked by the forkserver of the process that has called, which has imported Keras, too.

Each command is started for real in some test too: see `run_program(..., real=True)`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import IO, Any

from typing_extensions import override

PROGRAM = Path(sys.executable).parent / "lstm-sweep"
#: what commands import, but for what trains
IMPORTS = (
    "mlflow",
    "hyperopt",
    "scipy.stats",
    "lstm_sweep.search.cli.sweeps",
    "lstm_sweep.search.cli.models",
    "lstm_sweep.search.engines.local",
    "lstm_sweep.search.actions.rerun",
    "lstm_sweep.search.driver.resume",
    "lstm_sweep.search.driver.sweep",
    "lstm_sweep.search.actions.export",
    "lstm_sweep.search.store.server",
)
#: commands that train or use networks
TRAINING = ("launch", "resume", "rerun", "export", "generate", "detect", "classify")
#: longest request, bytes
REQUEST = 1 << 20


class Started:
    """A program that was started; the part of `subprocess.Popen`'s interface that tests use."""

    def __init__(self, status: socket.socket, stdout: IO[str], stderr: IO[str]) -> None:
        self._status = status
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self.pid = int.from_bytes(_exactly(status, 4), "little")

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended within `timeout` seconds.
        """
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired([str(PROGRAM)], timeout or 0.0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is not None:
            return self.returncode
        poll = select.poll()  # unlike `select` it takes any number of open files
        poll.register(self._status, select.POLLIN)
        if poll.poll(None if timeout is None else 1000 * timeout):
            self.returncode = int.from_bytes(_exactly(self._status, 4), "little", signed=True)
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it prints, once it has ended."""
        texts = ["", ""]

        def read(place: int, stream: IO[str]) -> None:
            texts[place] = stream.read()

        streams = enumerate((self.stdout, self.stderr))
        readers = [threading.Thread(target=read, args=one, daemon=True) for one in streams]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that has imported the program; it ends with this one."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests = ours
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[1],
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self.close)

    def start(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], *, alone: bool
    ) -> Started:
        """Start the program in a session of its own; what it prints comes through pipes.

        `alone` gives it a forkserver of its own, as a user's has.
        """
        out, err = os.pipe(), os.pipe()
        ours, theirs = socket.socketpair()
        request = {
            "arguments": list(arguments),
            "cwd": str(cwd),
            "environment": dict(environment),
            "forkserver": "" if alone or arguments[0] not in TRAINING else _forkserver(),
        }
        socket.send_fds(
            self._requests, [json.dumps(request).encode()], [out[1], err[1], theirs.fileno()]
        )
        for end in (out[1], err[1]):
            os.close(end)
        theirs.close()
        return Started(ours, _text(out[0]), _text(err[0]))

    def close(self) -> None:
        """Let it end."""
        self._requests.close()
        self._process.wait()


def _forkserver() -> str:
    """Where the forkserver of this process listens."""
    from lstm_sweep.search.process import forkserver

    forkserver.warm_up()
    return str(forkserver._servers[False]._forkserver_address)  # type: ignore[attr-defined]


def _text(end: int) -> IO[str]:
    return os.fdopen(end, encoding="utf-8")


def _exactly(status: socket.socket, count: int) -> bytes:
    received = status.recv(count, socket.MSG_WAITALL)
    if len(received) != count:
        raise RuntimeError("the launcher of tests has ended")
    return received


# --- within the launcher --------------------------------------------------------------------------


class Shared(forkserver.ForkServer):
    """A forkserver that another process has started."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._forkserver_address, self._forkserver_alive_fd = address, os.pipe()[1]

    @override
    def ensure_running(self) -> None:
        resource_tracker.ensure_running()


def serve(requests: socket.socket) -> None:
    """Import what commands need, then fork the program for each request until there is none."""
    for name in IMPORTS:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are not waited for
    while True:
        content, descriptors, _, _ = socket.recv_fds(requests, REQUEST, 3)
        if not content:
            return
        if os.fork() == 0:
            requests.close()
            _supervise(json.loads(content), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(request: dict[str, Any], out: int, err: int, status: int) -> None:
    """Fork the program, wait for it, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _run(request, out, err)
    os.close(out)
    os.close(err)
    os.write(status, pid.to_bytes(4, "little"))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(status, code.to_bytes(4, "little", signed=True))
    os._exit(0)


def _run(request: dict[str, Any], out: int, err: int) -> None:
    """Be the program: its folder, its environment, its output, its `__main__`."""
    code = 1
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = [str(PROGRAM), *request["arguments"]]
        sys.path[0] = str(PROGRAM.parent)
        main = types.ModuleType("__main__")
        main.__file__ = str(PROGRAM)  # what a worker of the program runs again
        sys.modules["__main__"] = main
        if request["forkserver"]:
            from lstm_sweep.search.process import forkserver as of_program

            of_program._servers[False] = Shared(request["forkserver"])
        from lstm_sweep.search.cli import main as program

        code = program()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.path.insert(1, str(Path(__file__).parents[1]))
    serve(socket.socket(fileno=int(sys.argv[1])))
