"""The contract of encoders, as the loader checks it."""

from __future__ import annotations

import numpy as np
import pytest

from annbatch import Loader
from annbatch.tokens import GeneformerRanks, RandomGenes, ScGPTBins, TopGenes

IDS = {"<pad>": 0, "<cls>": 1, "a": 2}


class Odd:
    """An encoder with attributes of any kind."""

    def __init__(self, widths=(4,), pad_id=0, pad_value=0.0):
        self.widths, self.pad_id, self.pad_value = widths, pad_id, pad_value

    def bind(self, var):
        return None


@pytest.mark.parametrize("encoder", [TopGenes, "ranks", lambda rows: rows])
def test_what_is_no_encoder_is_refused(encoder):
    with pytest.raises(TypeError, match=r"`encoder` must be None or have what annbatch.tokens.Encoder lists"):
        Loader(encoder=encoder)


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"widths": (4, 4)}, r"`encoder.widths` must be positive integers that ascend, got \(4, 4\)"),
        ({"widths": ()}, r"`encoder.widths` must be positive integers that ascend, got \(\)"),
        ({"widths": 4}, "`encoder.widths` must be a list or tuple of integers, got 4"),
        ({"widths": "4"}, "`encoder.widths` must be a list or tuple of integers, got '4'"),
        ({"widths": (4.0,)}, r"`encoder.widths` must be a list or tuple of integers, got \(4.0,\)"),
        ({"pad_id": None}, "`encoder.pad_id` must be an integer, got None"),
        ({"pad_id": 1.5}, "`encoder.pad_id` must be an integer, got 1.5"),
        ({"pad_value": None}, "`encoder.pad_value` must be a number, got None"),
    ],
)
def test_attributes_of_a_wrong_kind_are_refused(attributes, error):
    with pytest.raises((ValueError, TypeError), match=error):
        Loader(encoder=Odd(**attributes))


def test_what_an_encoder_binds_is_checked():
    with pytest.raises(TypeError, match=r"`encoder.bind` must return the function that encodes rows, got None of"):
        next(iter(Loader(encoder=Odd()).add_dataset(np.ones((2, 3)))))
    with pytest.raises(ValueError, match=r"`encoder.pad_id` must be an id that int64 holds, got 9223372036854775808"):
        next(iter(Loader(encoder=Odd(pad_id=2**63)).add_dataset(np.ones((2, 3)))))


def test_widths_are_the_buckets_and_the_largest_length():
    assert TopGenes(8).widths == (8,)
    assert TopGenes(8, buckets=(2, 4)).widths == (2, 4, 8)
    assert TopGenes(np.int64(8), buckets=[2, np.int32(4)]).widths == (2, 4, 8)
    assert GeneformerRanks({}, IDS, 8, buckets=(2, 8)).widths == (2, 8)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: TopGenes(0), "`k` must be an integer of at least 1, got 0"),
        (lambda: RandomGenes(True), "`k` must be an integer of at least 1, got True"),
        (lambda: TopGenes(4, buckets=(3, 2)), r"`buckets` must be positive integers that ascend, got \(3, 2\)"),
        (lambda: TopGenes(4, buckets=(0,)), r"`buckets` must be positive integers that ascend, got \(0,\)"),
        (lambda: TopGenes(4, buckets=2), "`buckets` must be a list or tuple of integers, got 2"),
        (lambda: TopGenes(4, buckets=(2.0,)), r"`buckets` must be a list or tuple of integers, got \(2.0,\)"),
        (lambda: TopGenes(4, buckets=(8,)), r"`buckets` must not exceed `k` \(4\), got \(8,\)"),
        (lambda: ScGPTBins(IDS, max_len=1), "`max_len` must be an integer of at least 2, got 1"),
        (lambda: ScGPTBins(IDS, n_bins=1), "`n_bins` must be an integer of at least 2, got 1"),
        (lambda: ScGPTBins(IDS, side="left"), "`side` must be 'both' or 'one', got 'left'"),
        (lambda: GeneformerRanks({}, IDS, 2, special_tokens=("<cls>", "a")), "`max_len` must be an integer of at lea"),
        (lambda: GeneformerRanks({"a": 0.0}, IDS), "`medians` must be positive and finite, got 0.0 for 'a'"),
        (lambda: GeneformerRanks({"a": float("nan")}, IDS), "`medians` must be positive and finite, got nan for 'a'"),
    ],
)
def test_wrong_settings_are_refused(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        make()


def test_special_tokens_must_be_in_the_vocabulary():
    with pytest.raises(KeyError, match="'<eos>'"):
        GeneformerRanks({}, IDS, special_tokens=True)
    with pytest.raises(KeyError, match="'<cls>'"):
        ScGPTBins({"a": 1})
