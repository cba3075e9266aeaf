"""Vocabularies: ids of genes, and what is told of those that have none."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from annbatch.tokens import Vocabulary

IDS = {"<pad>": 9, "<cls>": 1, "TP53": 4, "ENSG00000141510": 7, "CD3E": 0}


def var(*names: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=list(names))


def test_columns_have_the_ids_of_their_names():
    vocabulary = Vocabulary(IDS, missing="ignore")
    columns = vocabulary.columns(var("CD3E", "XIST", "TP53"))
    assert columns.dtype == np.int32
    assert columns.tolist() == [0, -1, 4]
    assert vocabulary.missing_columns(var("CD3E", "XIST", "TP53")) == ["XIST"]
    assert vocabulary["<cls>"] == 1
    assert vocabulary.pad_id == 9
    assert "TP53" in vocabulary
    assert "XIST" not in vocabulary
    assert len(vocabulary) == 5


def test_a_version_is_left_out_where_the_vocabulary_has_none():
    vocabulary = Vocabulary({"ENSG01": 1, "ENSG02.3": 2, "ENSMUSG07": 3}, missing="ignore")
    names = ("ENSG01.12", "ENSG02.3", "ENSMUSG07.1", "AC01.2")
    assert vocabulary.columns(var(*names)).tolist() == [1, 2, 3, -1]
    assert vocabulary.columns(var("ENSG02", "ENSG01")).tolist() == [-1, 1]


def test_names_may_be_in_a_column_of_var():
    vocabulary = Vocabulary(IDS, column="gene_ids")
    assert vocabulary.columns(var("TP53", gene_ids=["ENSG00000141510"])).tolist() == [7]
    with pytest.raises(KeyError, match=r"`column` must be a column of var, got .'gene_ids'.; did you mean 'gene_id'"):
        vocabulary.columns(var("TP53", gene_id=["ENSG00000141510"]))


def test_names_alone_are_numbered():
    vocabulary = Vocabulary(["a", "b"])
    assert [vocabulary[name] for name in "ab"] == [0, 1]
    assert vocabulary.pad_id == 0
    assert repr(Vocabulary("abcdef"[i] for i in range(6))) == "Vocabulary(6 names: 'a', 'b', 'c', 'd', ...)"


def test_missing_genes_are_counted_and_told():
    with pytest.warns(UserWarning, match="2 of 3 columns of the data have no id in the vocabulary: 'XIST', 'LYZ'"):
        Vocabulary(IDS).columns(var("XIST", "LYZ", "TP53"))
    with pytest.raises(ValueError, match=r"`vocabulary` must have an id of each column: 2 of 3 columns"):
        Vocabulary(IDS, missing="error").columns(var("XIST", "LYZ", "TP53"))
    with pytest.raises(ValueError, match=r"got none of 1 such as 'CD3', and its own names are .*did you mean 'CD3E'"):
        Vocabulary(IDS).columns(var("CD3"))


def test_a_gene_is_named_once():
    with pytest.raises(ValueError, match=r"`var` must name each gene of the vocabulary once, got 'ENSG00000141510.1'"):
        Vocabulary(IDS).columns(var("ENSG00000141510.1", "ENSG00000141510.2"))


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ({}, "`ids` must have at least one name, got none"),
        ({"a": -1}, "`ids` must be integers in 0..2147483647, got -1 for 'a'"),
        ({"a": 1 << 31}, "got 2147483648 for 'a'"),
        ({"a": 1.0}, "got 1.0 for 'a'"),
        ({"a": True}, "got True for 'a'"),
        ({"a": 3, "b": 3}, "`ids` must be different, got 3 for 'a', 'b'"),
        (["a", "b", "a"], "`ids` must have each name once, got 'a' twice"),
    ],
)
def test_wrong_ids_are_refused(ids, error):
    with pytest.raises(ValueError, match=error):
        Vocabulary(ids)


def test_other_wrong_arguments_are_refused():
    for ids in ("abc", b"abc", 3, None, {"a"}):
        with pytest.raises(TypeError, match=f"`ids` must be a mapping of names to ids or a list of names, got {ids!r}"):
            Vocabulary(ids)  # type: ignore[arg-type]
    for ids in ({None: 1}, {7: 1}, ["a", None], pd.Series({"a": 7})):
        with pytest.raises(TypeError, match=r"`ids` must have names that are strings, got (None|7)"):
            Vocabulary(ids)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`missing` must be 'warn', 'ignore' or 'error', got 'warm'; did you mean"):
        Vocabulary(IDS, missing="warm")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match=r"`vocabulary` must be names of the vocabulary, got .'<eos>'.; did you mean"):
        Vocabulary(IDS)["<eos>"]


def test_files_and_pickles(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(IDS))
    vocabulary = pickle.loads(pickle.dumps(Vocabulary.from_json(path, missing="ignore")))
    assert [vocabulary[name] for name in IDS] == list(IDS.values())
    assert vocabulary.missing == "ignore"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "must be a JSON file of ids by name, or of a list of names, got .*vocab.json: Expecting value"),
        (b"\xff\xfe", "got .*vocab.json: .*codec can't decode"),
        (b"[" * 100_000, "got .*vocab.json: .*recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", "got .*vocab.json: Exceeds the limit"),
        (b"3", "got .*vocab.json, which holds 3"),
        (b'"abc"', "got .*vocab.json, which holds 'abc'"),
        (b'{"a": 1, "a": 2}', "got .*vocab.json: `ids` must have each name once, got 'a' twice"),
        (b'{"a": {"b": 1}}', "`ids` must be integers in 0..2147483647, got {'b': 1} for 'a'"),
    ],
)
def test_files_that_hold_no_vocabulary_are_refused(tmp_path, content, error):
    path = tmp_path / "vocab.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=error):
        Vocabulary.from_json(path)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(IDS), encoding="utf-8-sig")
    assert len(Vocabulary.from_json(path)) == len(IDS)
