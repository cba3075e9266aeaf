"""The matrix that an encoder turns into tokens, read once if batches hold it in the same form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._anndata.keys import has_var_axis, split_key
from .._arguments import drawn_seed
from .._elements.encoded import EncodedElement
from .._elements.form import MatrixForm
from ..tokens._encoder import check_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._anndata.variables import Variables
    from .._elements.matrix import MatrixSources
    from ..tokens import Encoder


@dataclass(frozen=True, slots=True)
class EncodingRequest:
    """The tokens that a loader was asked for; see its parameters ``encoder`` and ``encoder_key``.

    Attributes
    ----------
    encoder
        The encoder.
    key
        Key of the matrix.
    seed
        Seed of random tokens where the order of rows needs none.
    """

    encoder: Encoder
    key: str
    seed: int

    @staticmethod
    def of(encoder: Any, key: Any, *, rng: Any, seed: int | None) -> EncodingRequest | None:
        """Return the request of a loader's arguments; None if no tokens are wanted.

        ``rng`` and ``seed`` are those that no sampler takes.
        """
        checked = check_encoder(encoder)
        if not (isinstance(key, str) and has_var_axis(key)):
            raise ValueError(f"`encoder_key` must be X or a layer, such as 'layers/counts', got {key!r}.")
        return None if checked is None else EncodingRequest(checked, key, drawn_seed(rng, seed) or 0)


def encoded_element(
    request: EncodingRequest,
    sources: MatrixSources,
    variables_of: Callable[[str], Variables],
    form: MatrixForm,
    *,
    is_wanted: bool,
) -> EncodedElement:
    """Return the element that yields tokens, and the matrix itself where batches hold it in the form that is encoded.

    Parameters
    ----------
    request
        Encoder and key.
    sources
        The matrix of all datasets.
    variables_of
        Returns the columns of a batch for the prefix of a key.
    form
        Form of the matrix in batches.
    is_wanted
        Whether batches hold it, too.

    Raises
    ------
    KeyError
        If the data has no such matrix.
    TypeError
        If its values are no real numbers, or the encoder binds no function.
    ValueError
        If its rows have more than one dimension, the encoder refuses its columns, or padding is no id.
    """
    key, encoder = request.key, request.encoder
    if not sources.sources:
        raise KeyError(
            f"`encoder_key` must be a matrix of the data, got {key!r}; name that of a modality, as 'mod/rna/X'."
        )
    if len(sources.first.shape) != 2:
        raise ValueError(f"`{key}` must have 2 dimensions to be encoded, got {len(sources.first.shape)}.")
    kinds = sorted({str(source.dtype) for source in sources.sources.values()})
    stored = np.result_type(*kinds)
    if stored.kind not in "biuf":
        raise TypeError(f"`{key}` must hold real numbers to be encoded, got {' and '.join(kinds)}.")
    dtype = np.dtype(np.float64 if stored == np.float64 and "float64" in kinds else np.float32)
    encoded = MatrixForm(adapter=form.adapter, dtype=dtype)
    is_same = form.transform is None and form.dense in ("no", "batch") and (form.dtype or stored) == dtype
    variables = variables_of(split_key(key)[0])
    names = pd.RangeIndex(variables.count).astype(str)
    var = pd.DataFrame(index=names) if variables.var is None else variables.var.copy()  # not the user's own
    ids_dtype = np.dtype("int64" if form.adapter is None else form.adapter.labels_dtype)
    limits = np.iinfo(ids_dtype)
    if not limits.min <= encoder.pad_id <= limits.max:
        raise ValueError(f"`encoder.pad_id` must be an id that {ids_dtype} holds, got {encoder.pad_id}.")
    encode = encoder.bind(var)
    if not callable(encode):
        raise TypeError(f"`encoder.bind` must return the function that encodes rows, got {encode!r} of {encoder!r}.")
    return EncodedElement(
        key=key,
        element=sources.element(variables, encoded),
        width=variables.count,
        encoder=encoder,
        encode=encode,
        ids_dtype=ids_dtype,
        seed=request.seed,
        is_yielded=is_same and is_wanted,
    )
