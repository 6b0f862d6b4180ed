"""Passwords, tokens and keys: kept out of every message, and out of the environment of workers."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from urllib.parse import parse_qsl, unquote

#: environment variables whose values no message may show
SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "PGPASSWORD",
    "MYSQL_PWD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "RAY_AUTH_TOKEN",
    "LSTM_SWEEP_TOKEN",
)
#: words in the names of options whose values no message may show
SECRET_WORDS = "pass|password|passwd|passphrase|pwd|token|secret"
#: names of options of an address whose values are secret; the path of a file with a secret is not
SECRET_OPTION = re.compile(
    rf"(?:{SECRET_WORDS})(?!_?file)|(?<!ssl)(?<!ssl_)(?<!public_)key(?!_?file)"
)
#: shorter secrets are not searched for in messages, since they would match ordinary words
SHORTEST_SECRET = 4
#: secrets found in addresses, and those removed from the environment
_hidden: set[str] = set()


def login(uri: str) -> tuple[str, str, str]:
    """User name and password of an address, which may have any character, and the rest of it."""
    user_info, _, rest = (uri.partition("://")[2] or uri).rpartition("@")
    name, _, password = user_info.partition(":")
    return name, password, rest


def hide(secret: str) -> None:
    """Remove a secret, and the parts of it that a parser may quote, from all later messages."""
    parts = {secret, unquote(secret), *re.split(r"[/@:?#]", secret)}
    _hidden.update(part for part in parts if len(part) >= SHORTEST_SECRET)


def hide_address(uri: str) -> None:
    """Remove the password, token and secret options of an address from all later messages."""
    name, password, _ = login(uri)
    if password != name:  # `mlflow:mlflow@` holds a default, which is no secret
        hide(password)
    if uri.startswith("http") and not password:
        hide(name)  # a token
    for key, value in parse_qsl(uri.partition("?")[2]):
        if SECRET_OPTION.search(key.lower()):
            hide(value)


def take_secrets(environment: MutableMapping[str, str]) -> None:
    """Remove all `SECRETS` from an environment; later messages do not show them either."""
    _hidden.update({environment.pop(name, "") for name in SECRETS} - {""})


def without_secrets(text: str) -> str:
    """A text with logins, options of addresses and known secrets replaced by `***`."""
    text = re.sub(r"(://[^\s/@:]*:)\S*@", r"\1***@", text)
    text = re.sub(r"(https?://)[^\s/@:]+@", r"\1***@", text)
    text = re.sub(r"(://[^\s?]*\?)[^\s=]*=\S*", r"\1***", text)
    text = re.sub(rf"(?i)\b(\w*(?:{SECRET_WORDS}))=[^\s&;,]+", r"\1=***", text)
    known = {os.environ.get(name, "") for name in SECRETS} | _hidden
    for secret in sorted(known - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
