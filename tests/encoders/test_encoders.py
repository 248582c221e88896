"""What every encoder and readout promises, and the formula of each."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skgnn_mtl import encoders, readouts
from skgnn_mtl._component import part_names, resolve_part
from skgnn_mtl.encoders import (
    DMPNN,
    GAT,
    GCN,
    GIN,
    GraphEncoder,
    GraphSAGE,
    Pretrained,
)
from skgnn_mtl.graphs import GraphArray, GraphSchema
from skgnn_mtl.readouts import Attention, Mean, Readout, Sum

# Pretrained is another encoder's copy and has tests of its own.
ENCODERS = [
    cls for cls in part_names(encoders, GraphEncoder).values() if cls is not Pretrained
]
READOUTS = list(part_names(readouts, Readout).values())
SCHEMA = GraphSchema(
    "toy",
    node_columns=(("element", 4), ("charge", 3)),
    edge_columns=(("bond", 3),),
    node_features=("mass",),
    edge_features=("length",),
    paired_edges=True,
    dtype="float64",
)


def make_graphs(seed=0, sizes=(5, 1, 3, 6)):
    """A ring with a tail, a lone node, and others, with random columns."""
    rng = np.random.default_rng(seed)
    bonds = [[(v, v + 1) for v in range(n - 1)] for n in sizes]
    bonds[0].append((4, 1))
    pairs = [p for graph in bonds for b in graph for p in (b, b[::-1])]
    n_edges = np.array([2 * len(graph) for graph in bonds])
    half = n_edges.sum() // 2
    return GraphArray(
        SCHEMA,
        n_nodes=sizes,
        n_edges=n_edges,
        node_codes=rng.integers(0, [4, 3], (sum(sizes), 2)),
        node_features=rng.normal(size=(sum(sizes), 1)),
        edge_index=np.array(pairs).T,
        edge_codes=np.repeat(rng.integers(0, 3, (half, 1)), 2, axis=0),
        edge_features=np.repeat(rng.normal(size=(half, 1)), 2, axis=0),
    )


def build(cls, schema=SCHEMA, **parameters):
    torch.manual_seed(0)
    encoder = cls(width=8, n_layers=3, **parameters)
    encoder.build(schema)
    return encoder.to(getattr(torch, schema.dtype)).eval()


def settle(encoder, batch):
    """Give batch normalisation statistics other than its first ones."""
    encoder.train()
    for _ in range(3):
        encoder(batch)
    return encoder.eval()


@pytest.fixture(params=ENCODERS, ids=lambda c: c.__name__)
def encoder(request):
    return settle(build(request.param), make_graphs(1).batch([0, 1, 2, 3]))


def test_a_batch_equals_its_graphs_one_by_one(encoder):
    X = make_graphs()
    together = encoder(X.batch([0, 1, 2, 3]))
    alone = torch.cat([encoder(X.batch([i])) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_renumbering_nodes_renumbers_states(encoder):
    X, rng = make_graphs(), np.random.default_rng(3)
    order = rng.permutation(5)  # new node k is old node order[k]
    bonds = rng.permutation(X.n_edges[0] // 2)
    edges = np.stack([2 * bonds, 2 * bonds + 1], axis=1).ravel()
    renumbered = GraphArray(
        SCHEMA,
        n_nodes=[5],
        n_edges=[len(edges)],
        node_codes=X.node_codes[order],
        node_features=X.node_features[order],
        edge_index=np.argsort(order)[X.edge_index[:, edges]],
        edge_codes=X.edge_codes[edges],
        edge_features=X.edge_features[edges],
    )
    states = encoder(X.batch([0]))
    again = encoder(renumbered.batch([0]))
    torch.testing.assert_close(again, states[order], rtol=1e-12, atol=1e-12)


def test_every_parameter_gets_a_gradient(encoder):
    encoder.train()
    states = encoder(make_graphs().batch([0, 1, 2, 3]))
    # A random projection: sums of normalised states are constant.
    torch.manual_seed(1)
    (states * torch.randn_like(states)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        # Biases in front of batch normalisation cancel, all else moves something.
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("cls", ENCODERS)
def test_without_normalisation_every_parameter_matters(cls):
    parameters = {} if cls is DMPNN else {"norm": None}
    encoder = build(cls, activation="tanh", **parameters)
    encoder(make_graphs().batch([0, 1, 2, 3])).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("cls", ENCODERS)
def test_second_derivatives_agree_with_differences(cls):
    parameters = {} if cls is DMPNN else {"norm": None}
    encoder = build(cls, activation="tanh", **parameters)
    batch = make_graphs().batch([0, 1, 2])
    names, values = zip(*encoder.named_parameters(), strict=True)
    directions = [torch.randn_like(v) for v in values]

    def gradient(shift):
        moved = {
            n: (v + shift * d).detach().requires_grad_()
            for n, v, d in zip(names, values, directions, strict=True)
        }
        states = torch.func.functional_call(encoder, moved, (batch,))
        return torch.autograd.grad(
            states.pow(3).sum(), moved.values(), create_graph=True
        ), moved

    first, moved = gradient(0.0)
    inner = sum((g * d).sum() for g, d in zip(first, directions, strict=True))
    product = torch.autograd.grad(inner, moved.values())
    h = 1e-5
    for exact, up, down in zip(product, gradient(h)[0], gradient(-h)[0], strict=True):
        torch.testing.assert_close(
            exact, ((up - down) / (2 * h)).detach(), rtol=1e-5, atol=1e-6
        )


def test_graphs_without_a_single_edge_and_tables_work(encoder):
    assert encoder(make_graphs().batch([1])).shape == (1, 8)
    table = GraphArray.from_features(np.random.default_rng(0).normal(size=(4, 3)))
    perceptron = build(type(encoder), table.schema)
    assert perceptron(table.batch([0, 1, 2, 3])).shape == (4, 8)


def test_the_model_side_makes_no_tensor_on_another_device(encoder):
    batch = make_graphs().batch([0, 1, 2, 3]).to("meta")
    for mode in (True, False):
        states = encoder.to("meta").train(mode)(batch)
        assert states.device.type == "meta"
        assert states.shape == (15, 8)


def test_clone_is_unbuilt_and_keeps_the_parameters(encoder):
    fresh = clone(encoder)
    assert list(fresh.parameters()) == []
    assert fresh.get_params() == encoder.get_params()


@pytest.mark.parametrize("cls", ENCODERS)
def test_unknown_activations_and_norms_are_refused(cls):
    with pytest.raises(
        ValueError, match="'activation' parameter of .* must be a str among"
    ):
        cls(activation="sine").build(SCHEMA)
    if cls is not DMPNN:
        with pytest.raises(ValueError, match="'norm' parameter of .* must be"):
            cls(norm="group").build(SCHEMA)


def one_hot(codes, sizes):
    blocks = [np.eye(size)[codes[:, j]] for j, size in enumerate(sizes)]
    return np.concatenate(blocks, axis=1)


def dense(X, i):
    """Columns and bonds of one graph, in NumPy."""
    one = X[[i]]
    x = np.concatenate([one_hot(one.node_codes, (4, 3)), one.node_features], axis=1)
    e = np.concatenate([one_hot(one.edge_codes, (3,)), one.edge_features], axis=1)
    return x, e, one.edge_index


def arrays(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def layer_arrays(p, layer):
    """Tensors of a layer; the edge embedding's last column is the self-loop."""
    q = {k.split(".", 2)[2]: v for k, v in p.items() if f"layers.{layer}." in k}
    table = q.pop("edge_embedding.weight")
    return q | {"edge": table[:, :-1], "loop": table[:, -1]}


def test_gin_is_its_formula():
    X, encoder = make_graphs(), build(GIN, norm=None)
    with torch.no_grad():
        for layer in encoder.layers:
            layer.edge_embedding.weight.normal_()
    p = arrays(encoder)
    x, e, (source, target) = dense(X, 0)
    h = x @ p["embedding.weight"].T
    for layer in range(3):
        q = layer_arrays(p, layer)
        m = h + q["loop"]
        for k in range(len(source)):
            m[target[k]] += h[source[k]] + q["edge"] @ e[k]
        hidden = np.maximum(m @ q["expand.weight"].T + q["expand.bias"], 0)
        h = hidden @ q["contract.weight"].T + q["contract.bias"]
        h = np.maximum(h, 0) if layer < 2 else h
    np.testing.assert_allclose(encoder(X.batch([0])).detach().numpy(), h, atol=1e-12)


def test_gcn_is_its_formula():
    X, encoder = make_graphs(), build(GCN, norm=None)
    with torch.no_grad():
        for layer in encoder.layers:
            layer.edge_embedding.weight.normal_()
    p = arrays(encoder)
    x, e, (source, target) = dense(X, 0)
    degree = np.bincount(target, minlength=5) + 1.0
    h = x @ p["embedding.weight"].T
    for layer in range(3):
        q = layer_arrays(p, layer)
        xs = h @ q["linear.weight"].T + q["linear.bias"]
        h = (xs + q["loop"]) / degree[:, None]
        for k, (u, v) in enumerate(zip(source, target, strict=True)):
            message = xs[u] + q["edge"] @ e[k]
            h[v] += message / np.sqrt(degree[u] * degree[v])
        h = np.maximum(h, 0) if layer < 2 else h
    np.testing.assert_allclose(encoder(X.batch([0])).detach().numpy(), h, atol=1e-12)


def test_graph_sage_is_its_formula():
    X, encoder = make_graphs(), build(GraphSAGE, norm=None)
    with torch.no_grad():
        for layer in encoder.layers:
            layer.edge_embedding.weight.normal_()
    p = arrays(encoder)
    x, e, (source, target) = dense(X, 0)
    degree = np.bincount(target, minlength=5) + 1.0
    h = x @ p["embedding.weight"].T
    for layer in range(3):
        q = layer_arrays(p, layer)
        xs = h @ q["linear.weight"].T + q["linear.bias"]
        a = xs + q["loop"]
        for k, (u, v) in enumerate(zip(source, target, strict=True)):
            a[v] += xs[u] + q["edge"] @ e[k]
        a /= degree[:, None]
        h = a / np.linalg.norm(a, axis=1, keepdims=True)
        h = np.maximum(h, 0) if layer < 2 else h
    np.testing.assert_allclose(encoder(X.batch([0])).detach().numpy(), h, atol=1e-12)


def test_gat_is_its_formula():
    X, encoder = make_graphs(), build(GAT, norm=None)
    with torch.no_grad():
        for layer in encoder.layers:
            layer.edge_embedding.weight.normal_()
            layer.bias.normal_()
    p = arrays(encoder)
    x, e, (source, target) = dense(X, 0)
    h = x @ p["embedding.weight"].T
    for layer in range(3):
        q = layer_arrays(p, layer)
        xs = h @ q["linear.weight"].T + q["linear.bias"]
        out = np.zeros((5, 8))
        for v in range(5):
            messages = [xs[v] + q["loop"]] + [
                xs[source[k]] + q["edge"] @ e[k] for k in np.flatnonzero(target == v)
            ]
            for head in range(2):
                part = slice(8 * head, 8 * head + 8)
                m = np.array(messages)[:, part]
                s = q["att_target"][head] @ xs[v, part] + m @ q["att_message"][head]
                s = np.where(s > 0, s, 0.2 * s)
                shift = max(0.0, s.max())
                weights = np.exp(s - shift) / (np.exp(s - shift).sum() + 1e-16)
                out[v] += weights @ m / 2
        h = out + q["bias"]
        h = np.maximum(h, 0) if layer < 2 else h
    np.testing.assert_allclose(encoder(X.batch([0])).detach().numpy(), h, atol=1e-12)


def test_dmpnn_is_its_formula():
    X, encoder = make_graphs(), build(DMPNN)
    p = arrays(encoder)
    x, e, (source, target) = dense(X, 0)
    z = x[source] @ p["atom_input.weight"].T + e @ p["bond_input.weight"].T
    h = np.maximum(z, 0)
    for _ in range(2):
        m = np.zeros_like(h)
        for a in range(len(source)):
            for b in range(len(source)):
                if target[b] == source[a] and b != a ^ 1:
                    m[a] += h[b]
        h = np.maximum(z + m @ p["hidden.weight"].T, 0)
    incoming = np.array([h[target == v].sum(axis=0) for v in range(5)])
    states = np.maximum(
        x @ p["atom_output.weight"].T
        + incoming @ p["output.weight"].T
        + p["output.bias"],
        0,
    )
    np.testing.assert_allclose(
        encoder(X.batch([0])).detach().numpy(), states, atol=1e-12
    )


def test_dmpnn_refuses_edges_without_their_reverse():
    schema = GraphSchema("directed", edge_features=("distance",))
    with pytest.raises(ValueError, match="two neighbouring directed edges"):
        DMPNN().build(schema)


def test_batch_normalisation_trains_on_a_single_node():
    encoder = build(GIN, norm="batch").train()
    assert torch.isfinite(encoder(make_graphs().batch([1]))).all()


@pytest.mark.parametrize("cls", READOUTS)
def test_readouts_ignore_the_order_and_the_company_of_nodes(cls):
    readout = cls()
    readout.build(8)
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.normal_()
    readout.double()
    X = make_graphs()
    batch = X.batch([0, 1, 2])
    states = torch.randn(batch.n_nodes, 8, dtype=torch.float64)
    together = readout(states, batch)
    shuffled = torch.cat([states[:5].flip(0), states[5:]])
    torch.testing.assert_close(readout(shuffled, batch), together)
    torch.testing.assert_close(readout(states[:5], X.batch([0])), together[:1])
    torch.testing.assert_close(readout(states[6:9], X.batch([2])), together[2:])


def test_readouts_are_their_formulas():
    batch = make_graphs().batch([0, 2])
    states = torch.randn(8, 4, dtype=torch.float64)
    first = states[:5]
    torch.testing.assert_close(Sum(norm=10)(states, batch)[0], first.sum(0) / 10)
    torch.testing.assert_close(Mean()(states, batch)[0], first.mean(0))
    softplus = Mean(activation="softplus")(states, batch)[0]
    torch.testing.assert_close(softplus, torch.log1p(first.mean(0).exp()))
    attention = Attention(n_heads=2)
    attention.build(4)
    attention.double()
    torch.testing.assert_close(attention(states, batch)[0], first.mean(0))
    with torch.no_grad():
        attention.vectors.normal_()
    weights = (first @ attention.vectors.t()).softmax(dim=0)
    expected = torch.cat([weights[:, 0] @ first[:, :2], weights[:, 1] @ first[:, 2:]])
    torch.testing.assert_close(attention(states, batch)[0], expected)


def test_an_unknown_activation_of_the_mean_is_refused():
    with pytest.raises(
        ValueError, match="'activation' parameter of .* must be None or a str among"
    ):
        Mean(activation="sine").build(4)


def test_attention_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="n_heads=3 does not divide"):
        Attention(n_heads=3).build(8)


def test_parts_are_found_by_name_and_cloned():
    assert sorted(part_names(encoders, GraphEncoder)) == [
        "cgcnn",
        "dmpnn",
        "gat",
        "gcn",
        "gin",
        "graphsage",
        "pretrained",
    ]
    mine = GIN(width=5)
    part = resolve_part(mine, encoders, GraphEncoder, "encoder")
    assert part is not mine
    assert part.width == 5
    with pytest.raises(ValueError, match=r"encoder='gni' is unknown; choose one of"):
        resolve_part("gni", encoders, GraphEncoder, "encoder")
    with pytest.raises(TypeError, match="encoder must be a string or an instance of"):
        resolve_part(3, encoders, GraphEncoder, "encoder")


def test_embedding_is_the_readout_of_the_states_in_evaluation_mode(encoder):
    X = make_graphs()
    batch = X.batch([0, 1, 2, 3])
    states = encoder(batch).detach()
    encoder.train()
    expected = torch.stack([part.mean(0) for part in states.split([5, 1, 3, 6])])
    np.testing.assert_allclose(encoder.embed(X), expected, atol=1e-12)
    np.testing.assert_allclose(
        encoder.embed(X, "sum", batch_size=2)[2], states[6:9].sum(0), atol=1e-12
    )
    np.testing.assert_allclose(encoder.embed(X, Mean()), expected, atol=1e-12)
    assert encoder.training
    assert encoder.embed(X[:0]).shape == (0, 8)
    with pytest.raises(ValueError, match="readout must be one of"):
        encoder.embed(X, "median")
    with pytest.raises(ValueError, match="does not have weights yet"):
        clone(encoder).embed(X)
    table = GraphArray.from_features(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="belong to graphs of schema 'toy'"):
        encoder.embed(table)
