"""Which errors of requests are worth a retry, and their reasons in words, without secrets.

obstore distinguishes most errors by their messages only, which quote the whole URL, with any password or signature in
it. So messages are searched, but never shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STATUS = re.compile(r"status code: (\d{3})")

_BUSY = (408, 425, 429)
"""Statuses below 500 that ask for a retry."""

_NO_ROUTE = ("dns error", "failed to lookup address", "NetworkUnreachable", "HostUnreachable", "No route to host")

_METADATA_SERVICES = ("169.254.169.254", "metadata.google.internal", "metadata/identity")

_OTHER_BYTES = ("UnexpectedRange", "InvalidRangeRequest", "ContentRange", "Inconsistent {")

_CONNECTION = (
    ("Connection refused", "the connection was refused"),
    ("Connection reset", "the connection was reset"),
    ("timed out", "the request timed out"),
    ("TimedOut", "the request timed out"),
    ("response body", "the response broke off"),
    ("IncompleteMessage", "the response broke off"),
    ("incomplete message", "the response broke off"),
    ("Parse(", "the response is not HTTP"),
)


class TruncatedResponseError(Exception):
    """A response held fewer bytes than it stated."""


class OtherBytesError(Exception):
    """A response stated other bytes than were requested."""


class ReplacedObjectError(Exception):
    """An object was replaced after its index was read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a failed request means.

    Attributes
    ----------
    reason
        The cause in words, without the URL.
    transient
        Whether another attempt may succeed.
    """

    reason: str
    transient: bool


MISSING = Fault("there is no such object (404)", False)


def fault_of(error: BaseException) -> Fault:
    """Return what an error of obstore, or a timeout, means.

    Examples
    --------
    >>> fault_of(TimeoutError())
    Fault(reason='the request timed out', transient=True)
    """
    name, text = type(error).__name__, str(error)
    if isinstance(error, FileNotFoundError):
        return MISSING
    if isinstance(error, TimeoutError):
        return Fault("the request timed out", True)
    if isinstance(error, TruncatedResponseError):
        return Fault("the response was truncated", True)
    if isinstance(error, OtherBytesError) or any(phrase in text for phrase in _OTHER_BYTES):
        return Fault("the server sent other bytes than were requested; the object may have been truncated", False)
    if any(service in text for service in _METADATA_SERVICES):
        return Fault("no credentials were found where obstore looks for them", False)
    if name == "PermissionDeniedError":
        return Fault("access was denied (403): the credentials must allow reading and listing it", False)
    if name == "UnauthenticatedError":
        return Fault("the credentials were not accepted (401)", False)
    if name in ("NotSupportedError", "NotImplementedError"):
        return Fault("the server does not support such a request", False)
    if "didn't return partial" in text or "NotPartial" in text:
        return Fault("the server ignores byte ranges, which are required", False)
    if "MissingContentLength" in text:
        return Fault("the server does not state the length of the object (Content-Length), which is required", False)
    if "TooManyRedirects" in text or "BareRedirect" in text:
        return Fault("the server redirects to nowhere, or without end", False)
    if any(phrase in text for phrase in _NO_ROUTE):
        return Fault("the host is unknown or unreachable", False)
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
