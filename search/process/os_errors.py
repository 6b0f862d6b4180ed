"""Errors of the operating system that retrying does not resolve, such as a full disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator

NO_SPACE = "no space left"
#: error numbers, and what a message says of them
PERMANENT_ERRNOS = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: NO_SPACE,
    errno.EACCES: "no permission to write",
    errno.EPERM: "no permission to write",
    errno.EROFS: "it cannot be written",
    errno.ENOTDIR: "there is a file where a folder is expected",
    errno.EISDIR: "there is a folder where a file is expected",
    errno.EEXIST: "there is a file where a folder is expected",
}
#: the same errors in the texts of databases and servers
PERMANENT_PHRASES = {
    "disk is full": NO_SPACE,
    "No space left": NO_SPACE,
    "readonly database": "it cannot be written",
    "Could not decode to UTF-8": "something in it is no text",
}


def permanent_reason(error: BaseException) -> str:
    """Why an error, or one of its causes, stays until somebody acts; "" if it need not."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in PERMANENT_ERRNOS:
            return PERMANENT_ERRNOS[cause.errno]
        for phrase, meaning in PERMANENT_PHRASES.items():
            if phrase in str(cause):
                return meaning
    return ""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, then its cause or context, then that one's, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
