"""Repositories and buckets of the Hugging Face Hub.

Files of repositories are read over HTTP: the Hub redirects each request to the server that has the content. Buckets are
read and written over their S3 interface, which has keys of its own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

_REPOSITORY = re.compile(
    r"hf://(?P<kind>(?:datasets|spaces)/)?(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:@(?P<revision>[^/?#]+))?(?P<path>/[^?#]*)?",
    re.IGNORECASE,
)
_BUCKET = re.compile(r"hf://buckets/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?P<path>/[^?#]*)?", re.IGNORECASE)


FORMS = "hf://datasets/OWNER/NAME[@REVISION]/PATH, hf://OWNER/NAME[@REVISION]/PATH or hf://buckets/OWNER/NAME/PATH"
"""What URLs of the Hub look like."""


def hub_store(url: str) -> tuple[str, dict[str, Any]] | None:
    """Return the URL, and the options, by which obstore opens what an ``hf://`` URL names; None if it names nothing.

    Parameters
    ----------
    url
        ``hf://datasets/OWNER/NAME[@REVISION]/PATH``, ``hf://OWNER/NAME[@REVISION]/PATH`` for models,
        ``hf://spaces/...`` or ``hf://buckets/OWNER/NAME/PATH``, as huggingface_hub writes them; a ``/`` within a
        revision is written ``%2F``.

    Examples
    --------
    >>> address, options = hub_store("hf://datasets/lab/atlas@v2/cells.zarr")
    >>> address
    'https://huggingface.co/datasets/lab/atlas/resolve/v2/cells.zarr'
    """
    bucket = _BUCKET.fullmatch(url)
    if bucket:
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "https://s3.hf.co").rstrip("/")
        options = {
            "endpoint": f"{endpoint}/{bucket['owner']}",
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
        }
        return f"s3://{bucket['name']}{bucket['path'] or ''}", options
    repository = _REPOSITORY.fullmatch(url)
    if repository is None or repository["owner"].lower() in ("buckets", "datasets", "spaces"):
        return None
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    folder = f"{repository['kind'] or ''}{repository['owner']}/{repository['name']}"
    address = f"{endpoint}/{folder}/resolve/{repository['revision'] or 'main'}{repository['path'] or ''}"
    token = _token()
    # Of the hub's own address only: the server that has the content gets a signed URL, not the token.
    headers = {"default_headers": {"authorization": f"Bearer {token}"}} if token else {}
    return address, {"client_options": headers}


def _token() -> str | None:
    """Return the token of the Hub's own tools: in the environment, or in the file that ``hf auth login`` writes."""
    token = os.environ.get("HF_TOKEN")
    if token is None:
        home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
        file = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser()
        try:
            token = file.read_text()
        except OSError:
            return None
    return token.strip() or None
