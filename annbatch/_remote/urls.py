"""URLs of object stores: opening them, and showing them without credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError
from .hugging_face import FORMS, hub_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https", "hf")
"""Schemes of URLs that are object stores."""


def is_url(location: object) -> bool:
    """Return whether a location is the URL of an object store, not a path.

    Examples
    --------
    >>> is_url("s3://bucket/cells.zarr"), is_url("cells.zarr"), is_url("C:/cells.zarr")
    (True, False, False)
    """
    scheme, separator, _ = str(location).partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def refuse_other_urls(location: object, name: str) -> None:
    """Raise ``ValueError`` if a location is no path, or a URL of another scheme or one that lacks a slash.

    As a path, it would be shown with its password.
    """
    if not str(location) or "\0" in str(location):
        raise ValueError(f"`{name}` must be a path or a URL, got {without_secrets(location)!r}.")
    if is_url(location) or not _looks_like_url(location):
        return
    advice = "" if "://" in str(location) else ": a `pathlib.Path` of a URL loses a slash, so give it as a string"
    raise ValueError(
        f"`{name}` must be a path, or a URL of {', '.join(SCHEMES)}, got {without_secrets(location)!r}{advice}."
    )


def refuse_urls(location: object, name: str) -> None:
    """Raise ``ValueError`` if a location that must be a local path is a URL."""
    if _looks_like_url(location):
        raise ValueError(f"`{name}` must be a local path, got {without_secrets(location)!r}.")


def _looks_like_url(location: object) -> bool:
    text = str(location).lstrip(_AROUND)
    return bool(re.match(r"(?i)[a-z][a-z0-9+.-]+://", text) or _URL.match(text))


def open_object_store(url: str) -> ObjectStore:
    """Return obstore's store for a URL; obstore finds the credentials.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If obstore is not installed.
    ValueError
        If obstore does not know such a URL.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as exc:
        raise MissingDependencyError(f"{without_secrets(url)} needs obstore: `pip install obstore`") from exc
    options: dict[str, Any] = {}
    address = url
    if url.lower().startswith("hf://"):
        found = hub_store(url)
        if found is None:
            raise ValueError(f"`url` must be {FORMS}, got {without_secrets(url)!r}.")
        address, options = found
    if address.lower().startswith("http://"):  # obstore wants a second confirmation
        options["client_options"] = {**options.get("client_options", {}), "allow_http": True}
    problem = None
    try:
        # `fetch.retry` retries; obstore's own retries would multiply them.
        return from_url(address, retry_config={"max_retries": 0}, **options)
    except (BaseError, ValueError) as exc:
        problem = type(exc).__name__
    # Raised outside the handler: obstore's error quotes the whole URL, and would be shown as the context.
    raise ValueError(
        f"`url` must name an object store ({', '.join(SCHEMES)}), with a bucket, and an account for Azure; "
        f"got {without_secrets(url)!r} ({problem})."
    )


def url_of(store: ObjectStore) -> str:
    """Return the URL that a store's keys are relative to, without credentials.

    Examples
    --------
    >>> from obstore.store import from_url
    >>> url_of(from_url("https://user:secret@example.com/cells?signature=secret"))
    'https://example.com/cells'
    """
    kind: str = type(store).__name__
    config: dict[str, Any] = dict(getattr(store, "config", None) or {})
    prefix = str(getattr(store, "prefix", None) or "").strip("/")
    if kind == "HTTPStore":
        return without_secrets(str(getattr(store, "url", "")))
    if kind == "S3Store":
        root = f"s3://{config.get('bucket', '')}"
    elif kind == "GCSStore":
        root = f"gs://{config.get('bucket', '')}"
    elif kind == "AzureStore":
        root = f"az://{config.get('container_name', '')}"
    else:
        root = f"{kind.removesuffix('Store').lower()}://"
    return f"{root}/{prefix}" if prefix else root


# The slashes of a URL; without both, of a known scheme, or with what may be a password.
_SCHEME = (
    r"(?i)\b(?:[a-z][a-z0-9+.-]+://"
    rf"|(?:{'|'.join(SCHEMES)}):(?:[/\\]|(?=[^\s\"'<>]*@))"
    r"|[a-z][a-z0-9+.-]+:[/\\](?=[^\s\"'<>]*@))[/\\]*+(?!\w+[(])"
)
_URL = re.compile(_SCHEME + r"(?P<rest>[^\n\"'<>]*)")
_WHOLE = re.compile(_SCHEME + r"(?P<rest>[^\n]*)\n?")  # passwords may have quotes
_AROUND = " \t\r\n\"'<"
_HOST = re.compile(r"([^:\[\]]*|\[[^\[\]]*\])(:[0-9]*)?")


def without_secrets(text: object) -> str:
    """Return a text with its URLs cut down to host and path: user, password, query and fragment may hold secrets.

    Examples
    --------
    >>> without_secrets("https://me:pass@example.com:8080/cells?sig=secret")
    'https://example.com:8080/cells'
    >>> without_secrets('HTTPStore("http://me:pass@example.com/cells?sig=secret")')
    'HTTPStore("http://example.com/cells")'
    >>> (
    ...     without_secrets("https://me:a/password@example.com/cells"),
    ...     without_secrets("https://me:it's@example.com/cells"),
    ... )
    ('https://...', 'https://example.com/cells')
    >>> without_secrets("https:/me:password@example.com/cells")
    'https:/example.com/cells'
    >>> without_secrets("cells.zarr")
    'cells.zarr'
    """
    whole = _WHOLE.fullmatch(str(text).lstrip(_AROUND))
    return _URL.sub(_host_and_path, str(text)) if whole is None else _host_and_path(whole)


def _host_and_path(url: re.Match[str]) -> str:
    begin, rest = url[0][: url.start("rest") - url.start()], url["rest"]
    host, slash, path = re.split(r"[?#]", rest)[0].partition("/")
    host = host.rpartition("@")[2]
    if not _HOST.fullmatch(host):  # the beginning of a password with one of "/?#", which no URL may have
        return f"{begin}..."
    if ":/" in path and "@" in path:  # another URL, as of a proxy
        return f"{begin}{host}/..."
    return f"{begin}{host}{slash}{path}".rstrip("/")
