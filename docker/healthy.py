"""Whether what runs in this container is well: a server must answer; anything else only runs."""

import urllib.request
from pathlib import Path


def port_of(line: list[str]) -> str | None:
    """Port of the server that a command line starts; None if it starts none."""
    names = [Path(word).name for word in line]
    command = line[names.index("lstm-sweep") + 1 :] if "lstm-sweep" in names else []
    if command[:1] != ["ui"]:
        return None
    options = [part for word in command[1:] for part in word.split("=", 1)]
    return options[options.index("--port") + 1] if "--port" in options else "5000"


if __name__ == "__main__":
    port = port_of(Path("/proc/1/cmdline").read_text(encoding="utf-8").rstrip("\0").split("\0"))
    if port is not None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(f"http://127.0.0.1:{port}/health", timeout=5).close()
