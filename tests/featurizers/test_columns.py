"""Values to codes."""

import numpy as np
import pytest

from skgnn_mtl.featurizers import AtomColumn, BondColumn


def column(**kwargs):
    return AtomColumn("x", "GetFormalCharge", **kwargs)


def test_code_is_the_position_in_the_vocabulary():
    assert [column(vocabulary=(4, 7, -1)).code(v) for v in (4, 7, -1)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("outside", "size", "codes"),
    [("other", 4, [3, 3, 3]), ("nearest", 3, [0, 2, 2]), (1, 3, [1, 1, 1])],
)
def test_values_outside_have_a_code(outside, size, codes):
    x = column(vocabulary=(-1, 0, 1), outside=outside)
    assert x.size == size
    assert [x.code(value) for value in (-9, 2, 100)] == codes


def test_n_codes_adds_rows_that_no_value_uses():
    assert column(vocabulary=(1, 2), outside=0, n_codes=9).size == 9


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_arrays_and_lists_are_encoded_alike(dtype):
    x = column(vocabulary=(-2, 0, 3), outside="other")
    values = np.array([0, 3, 5, 0, 120] + [-2] * (dtype != "uint8"), dtype=dtype)
    assert x.encode(values).tolist() == [x.code(v) for v in values.tolist()]
    assert x.encode(values.tolist()).tolist() == x.encode(values).tolist()


def test_codes_are_as_small_as_they_can_be():
    assert column(vocabulary=range(255)).encode([3]).dtype == np.uint8
    assert column(vocabulary=range(256)).encode([999]).tolist() == [256]


def test_continuous_columns_are_scaled_floats():
    encoded = column(scale=0.5).encode([1, 2.5])
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [0.5, 1.25]


def test_strings_and_booleans_may_be_words():
    assert column(vocabulary=("R", "S")).encode(["S", "R", "?"]).tolist() == [1, 0, 2]
    assert column(vocabulary=(False, True)).encode(np.array([1, 0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"vocabulary": ()}, "different values, at least one"),
        ({"vocabulary": (1, 1)}, "different values"),
        ({"vocabulary": (1,), "outside": "last"}, "'other', 'nearest' or a code"),
        ({"vocabulary": (1, 2), "outside": 2}, r"a code in 0..1, but is 2"),
        ({"vocabulary": (1, 2), "n_codes": 2}, "has 3 codes, but n_codes=2"),
    ],
)
def test_impossible_columns_are_refused(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        column(**parameters)


def test_columns_are_values():
    assert AtomColumn("x", "IsInRing", [0, 1]) == AtomColumn("x", "IsInRing", (0, 1))
    assert AtomColumn("x", "IsInRing", (0, 1)) != BondColumn("x", "IsInRing", (0, 1))
    assert len({column(vocabulary=(1,)), column(vocabulary=(1,))}) == 1
