"""How an object store is opened, and what it is called: never by its credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https")
"""Of the URLs that are object stores."""


def is_url(place: object) -> bool:
    """Say whether a place is the URL of an object store, rather than a path.

    Examples
    --------
    >>> is_url("s3://bucket/cells.zarr"), is_url("cells.zarr"), is_url("C:/cells.zarr")
    (True, False, False)
    """
    scheme, separator, _ = str(place).partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def open_object_store(url: str) -> ObjectStore:
    """Return obstore's store for a URL, with credentials from where obstore finds them.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If obstore is not installed.
    ValueError
        If it is no URL that obstore knows.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as exc:
        raise MissingDependencyError(f"{without_secrets(url)} needs obstore: `pip install 'annbatch[remote]'`") from exc
    problem = None
    try:
        # Attempts are counted, spaced and bounded by `fetch`; obstore's own, within each, would multiply them.
        if url.lower().startswith("http://"):  # obstore wants to be told twice
            return from_url(url, retry_config={"max_retries": 0}, client_options={"allow_http": True})
        return from_url(url, retry_config={"max_retries": 0})
    except (BaseError, ValueError) as exc:
        problem = type(exc).__name__
    # Raised out here: obstore's own error would be its context, and quotes the URL with all that is in it.
    raise ValueError(
        f"`url` must be that of an object store ({', '.join(SCHEMES)}), with a bucket, and an account for Azure; "
        f"got {without_secrets(url)!r} ({problem})."
    )


def url_of(store: ObjectStore) -> str:
    """Return the URL of what a store's keys are relative to, without credentials.

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
        home = f"s3://{config.get('bucket', '')}"
    elif kind == "GCSStore":
        home = f"gs://{config.get('bucket', '')}"
    elif kind == "AzureStore":
        home = f"az://{config.get('container_name', '')}"
    else:
        home = f"{kind.removesuffix('Store').lower()}://"
    return f"{home}/{prefix}" if prefix else home


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment, any of which may hold a secret.

    Examples
    --------
    >>> without_secrets("https://me:pass@example.com:8080/cells?sig=secret")
    'https://example.com:8080/cells'
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL at all
        return url.partition("?")[0].rpartition("@")[2]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def shown_path(place: str | Path) -> str:
    """Return a path, or a URL without secrets."""
    return without_secrets(str(place)) if "://" in str(place) else str(place)
