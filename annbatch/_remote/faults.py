"""What a failed request means: whether another attempt may help, and how to say it without quoting any secret.

obstore tells most failures apart in its message only, which quotes the whole URL, with a password or a signature if
there is one. So messages are searched, and never shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STATUS = re.compile(r"status code: (\d{3})")

_BUSY = (408, 425, 429)
"""Statuses below 500 that ask to be tried again."""

_NO_ROUTE = ("dns error", "failed to lookup address", "NetworkUnreachable", "HostUnreachable", "No route to host")

_METADATA_SERVICES = ("169.254.169.254", "metadata.google.internal", "metadata/identity")

_CONNECTION = (
    ("Connection refused", "the connection was refused"),
    ("Connection reset", "the connection was reset"),
    ("timed out", "the server did not answer in time"),
    ("TimedOut", "the server did not answer in time"),
    ("response body", "the answer broke off"),
    ("IncompleteMessage", "the answer broke off"),
    ("incomplete message", "the answer broke off"),
)


class TruncatedAnswerError(Exception):
    """An answer held fewer bytes than were asked for."""


class ReplacedObjectError(Exception):
    """An object is no longer the one whose index was read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a failed request means.

    Attributes
    ----------
    reason
        In words, without the URL.
    transient
        Whether another attempt may succeed.
    """

    reason: str
    transient: bool


MISSING = Fault("there is no such object (404)", False)


def fault_of(error: BaseException) -> Fault:
    """Return what an error of obstore, or of waiting for it, means.

    Examples
    --------
    >>> fault_of(TimeoutError())
    Fault(reason='the server did not answer in time', transient=True)
    """
    name, text = type(error).__name__, str(error)
    if isinstance(error, FileNotFoundError):
        return MISSING
    if isinstance(error, TimeoutError):
        return Fault("the server did not answer in time", True)
    if isinstance(error, TruncatedAnswerError):
        return Fault("the answer was truncated", True)
    if any(service in text for service in _METADATA_SERVICES):
        return Fault("no credentials were found where obstore looks for them", False)
    if name == "PermissionDeniedError":
        return Fault("access was denied (403): the credentials must allow reading and listing it", False)
    if name == "UnauthenticatedError":
        return Fault("the credentials were not accepted (401)", False)
    if name in ("NotSupportedError", "NotImplementedError"):
        return Fault("the server does not support such a request", False)
    if "didn't return partial" in text or "NotPartial" in text:
        return Fault("the server ignores ranges of bytes, which are needed", False)
    if any(phrase in text for phrase in _NO_ROUTE):
        return Fault("no route leads to the host, or its name is unknown", False)
    if "BadScheme" in text:
        return Fault("plain HTTP was not allowed (obstore's `allow_http`)", False)
    status = _STATUS.search(text)
    if status is not None:
        number = int(status[1])
        return Fault(f"the server answered {number}", number >= 500 or number in _BUSY)
    for phrase, reason in _CONNECTION:
        if phrase in text:
            return Fault(reason, True)
    return Fault("the connection failed", True)
