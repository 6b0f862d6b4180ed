"""Whether what runs in this container is well: a server must answer; anything else only runs."""

import re
import urllib.request
from pathlib import Path

#: what a node of a Ray cluster answers about itself, and the head's about the whole; no token
NODE = "http://127.0.0.1:52365/api/local_raylet_healthz"
HEAD = "http://127.0.0.1:8265/api/gcs_healthz"

#: commands that answer: their ports by default, and a path that needs no login
SERVERS = {"ui": ("5000", "/health"), "serve": ("8000", "/api/v1/ready")}


def addresses(line: list[str]) -> list[str]:
    """What must answer of what a command line starts."""
    words = [word for part in line for word in part.split()]  # in a pod it is a script of bash
    if re.search(r"(^|[ /])ray start ", " ".join(words)):
        return [NODE, HEAD] if "--head" in words else [NODE]
    server = server_of(line)
    return [] if server is None else [f"http://127.0.0.1:{server[0]}{server[1]}"]


def server_of(line: list[str]) -> tuple[str, str] | None:
    """Port of the server that a command line starts, and a path that it answers; or None."""
    names = [Path(word).name for word in line]
    command = line[names.index("lstm-sweep") + 1 :] if "lstm-sweep" in names else []
    if not command or command[0] not in SERVERS:
        return None
    port, path = SERVERS[command[0]]
    options = [part for word in command[1:] for part in word.split("=", 1)]
    return options[options.index("--port") + 1] if "--port" in options else port, path


if __name__ == "__main__":
    command_line = Path("/proc/1/cmdline").read_text(encoding="utf-8").rstrip("\0").split("\0")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for address in addresses(command_line):
        direct.open(address, timeout=5).close()
