"""CGCNN: the paper's equations, and what crystals ask of an encoder."""

import numpy as np
import pytest
import torch

from skgnn_mtl.encoders import CGCNN
from skgnn_mtl.graphs import GraphArray, GraphSchema

SCHEMA = GraphSchema(
    "toy crystal",
    node_columns=(("element", 4),),
    node_table=tuple(tuple(row) for row in np.arange(12.0).reshape(4, 3) / 10),
    edge_features=("distance",),
    dtype="float64",
)
SOURCE = [1, 2, 0, 2, 2, 0, 1]
TARGET = [0, 0, 1, 1, 1, 2, 2]
DISTANCE = [1.1, 2.3, 1.1, 2.0, 2.5, 2.3, 2.0]


def crystal(n_atoms=3, source=SOURCE, target=TARGET, distance=DISTANCE):
    return GraphArray(
        SCHEMA,
        n_nodes=[n_atoms],
        n_edges=[len(source)],
        node_codes=np.arange(1, n_atoms + 1)[:, None] % 4,
        edge_index=np.array([source, target]),
        edge_features=np.array(distance)[:, None],
    )


def build(**parameters):
    torch.manual_seed(0)
    encoder = CGCNN(
        width=8, n_layers=2, max_distance=3.0, step=0.5, norm=None, **parameters
    )
    encoder.build(SCHEMA)
    return encoder.double().eval()


def softplus(x):
    return np.log1p(np.exp(x))


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_it_is_its_formula(aggregation):
    encoder, X = build(aggregation=aggregation), crystal()
    p = {name: q.detach().numpy() for name, q in encoder.named_parameters()}
    table = np.array(SCHEMA.node_table)[X.node_codes[:, 0]]
    v = table @ p["embedding.weight"].T + p["embedding.bias"]
    centers = np.arange(7) * 0.5
    for layer in range(2):
        q = {k.split(".", 2)[2]: w for k, w in p.items() if f"layers.{layer}." in k}
        parts = ("center", "neighbor", "edge")
        w_f, w_s = (
            np.concatenate([q[f"{half}.{part}.weight"] for part in parts], axis=1)
            for half in ("gate", "core")
        )
        combined = np.zeros_like(v)
        for i in range(3):
            messages = []
            for j, to, d in zip(SOURCE, TARGET, DISTANCE, strict=True):
                if to == i:
                    u = np.exp(-(((d - centers) / 0.5) ** 2))
                    row = np.concatenate([v[i], v[j], u])
                    gate = w_f @ row + q["gate.center.bias"]
                    core = w_s @ row + q["core.center.bias"]
                    messages.append(softplus(core) / (1 + np.exp(-gate)))
            combined[i] = getattr(np, aggregation)(messages, axis=0)
        v = softplus(v + combined)
    np.testing.assert_allclose(encoder(X.batch([0])).detach().numpy(), v, atol=1e-12)


def test_repeated_edges_leave_the_mean_alone_and_not_the_sum():
    X = crystal()
    twice = crystal(source=SOURCE * 2, target=TARGET * 2, distance=DISTANCE * 2)
    mean, total = build(aggregation="mean"), build()
    torch.testing.assert_close(mean(twice.batch([0])), mean(X.batch([0])))
    assert not torch.allclose(total(twice.batch([0])), total(X.batch([0])))


def test_an_atom_without_neighbours_has_a_state():
    alone = crystal(1, [], [], [])
    for aggregation in ("mean", "sum"):
        state = build(aggregation=aggregation)(alone.batch([0]))
        assert torch.isfinite(state).all()


def test_the_table_is_no_parameter_and_not_in_the_state():
    encoder = build()
    assert "nodes.table" not in encoder.state_dict()
    assert not any("table" in name for name, _ in encoder.named_parameters())
    assert encoder.embedding.weight.shape == (8, 3)


def test_the_first_layer_starts_like_one_linear_map():
    layer = build().layers[0].gate
    bound = (2 * 8 + 7) ** -0.5
    for part in (layer.center, layer.neighbor, layer.edge):
        assert part.weight.abs().max() <= bound
        assert part.weight.abs().max() > 0.8 * bound


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"aggregation": "max"},
            "'aggregation' parameter of CGCNN must be a str among",
        ),
        ({"step": 0}, "'step' parameter of CGCNN must"),
        ({"step": 9.0}, "step must be at most max_distance=8.0"),
        ({"width": 0}, "'width' parameter of CGCNN must"),
    ],
)
def test_impossible_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        CGCNN(**parameters).build(SCHEMA)


def test_gaussians_and_tables_are_made_on_the_device_of_the_batch():
    batch = crystal().batch([0]).to("meta")
    states = build().to("meta")(batch)
    assert states.device.type == "meta"
    assert states.shape == (3, 8)


def test_a_batch_equals_its_crystals_one_by_one():
    X = GraphArray.concatenate([crystal(), crystal(1, [], [], []), crystal()])
    encoder = build()
    together = encoder(X.batch([0, 1, 2]))
    alone = torch.cat([encoder(X.batch([i])) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
