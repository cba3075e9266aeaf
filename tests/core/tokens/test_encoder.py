"""The contract of encoders, as the loader checks it."""

from __future__ import annotations

import pytest

from annbatch import Loader
from annbatch.tokens import GeneformerRanks, RandomGenes, ScGPTBins, TopGenes

IDS = {"<pad>": 0, "<cls>": 1, "a": 2}


class Odd(TopGenes):
    """An encoder of widths that are none."""

    @property
    def widths(self):
        return (4, 4)


@pytest.mark.parametrize("encoder", [TopGenes, "ranks", lambda rows: rows])
def test_what_is_no_encoder_is_refused(encoder):
    with pytest.raises(TypeError, match=r"`encoder` must be None or have what annbatch.tokens.Encoder lists"):
        Loader(encoder=encoder)


def test_widths_must_ascend():
    with pytest.raises(ValueError, match=r"`encoder.widths` must be positive integers that ascend, got \(4, 4\)"):
        Loader(encoder=Odd(4))


def test_widths_are_the_buckets_and_the_largest_length():
    assert TopGenes(8).widths == (8,)
    assert TopGenes(8, buckets=(2, 4)).widths == (2, 4, 8)
    assert GeneformerRanks({}, IDS, 8, buckets=(2, 8)).widths == (2, 8)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: TopGenes(0), "`k` must be an integer of at least 1, got 0"),
        (lambda: RandomGenes(True), "`k` must be an integer of at least 1, got True"),
        (lambda: TopGenes(4, buckets=(3, 2)), r"`buckets` must be positive integers that ascend, got \(3, 2\)"),
        (lambda: TopGenes(4, buckets=(0,)), r"`buckets` must be positive integers that ascend, got \(0,\)"),
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
    with pytest.raises(ValueError, match=error):
        make()


def test_special_tokens_must_be_in_the_vocabulary():
    with pytest.raises(KeyError, match="'<eos>'"):
        GeneformerRanks({}, IDS, special_tokens=True)
    with pytest.raises(KeyError, match="'<cls>'"):
        ScGPTBins({"a": 1})
