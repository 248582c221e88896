"""The layer behind one-hot columns starts at the scale of its sparse rows."""

import pytest
import torch

from skgnn_mtl.encoders._base import Columns

TABLE = ((1.0, 0.0, 1.0, 1.0), (0.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0))
CASES = {
    "categories": (Columns((("element", 90), ("charge", 7)), ()), 2),
    "with features": (Columns((("element", 40),), ("mass", "radius", "x")), 4),
    "features only": (Columns((), ("mass",)), 1),
    # Three ones in each row of the table, and a charge: the row of zeros is padding.
    "table": (Columns((("element", 3), ("charge", 7)), (), TABLE), 4),
}


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spare", [0, 3])
def test_weights_are_uniform_up_to_the_root_of_the_entries_of_a_row(case, spare):
    columns, n_active = CASES[case]
    layer = columns.linear(4000, spare=spare).requires_grad_(False)
    bound = n_active**-0.5
    own = layer.weight[:, : columns.width]
    assert own.abs().max() <= bound
    assert own.abs().max() > 0.99 * bound
    assert float(own.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert layer.bias.abs().max() <= bound
    assert layer.weight.shape == (4000, columns.width + spare)
    assert (layer.weight[:, columns.width :] == 0).all()


def test_outputs_have_one_scale_whatever_the_number_of_categories():
    """With the scale of a dense layer of this width they would be far smaller."""
    for n in (5, 500):
        columns = Columns((("a", n), ("b", n)), ())
        codes = torch.randint(n, (300, 2))
        rows = columns(codes, torch.zeros(300, 0))
        outputs = columns.linear(2000, bias=False)(rows).detach()
        assert float(outputs.square().mean()) == pytest.approx(1 / 3, rel=0.1)


def test_graphs_without_columns_are_mapped_to_zero():
    layer = Columns((), ()).linear(5)
    assert (layer(torch.zeros(3, 0)) == torch.zeros(3, 5)).all()
