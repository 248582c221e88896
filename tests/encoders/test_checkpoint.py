"""Published weights: strict reading, and embeddings from a dense computation."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.encoders import DMPNN, GAT, GCN, GIN, GraphSAGE

FILES = {
    "gcn_contextpred": GCN,
    "gcn_supervised": GCN,
    "gcn_supervised_contextpred": GCN,
    "graphsage_supervised_contextpred": GraphSAGE,
    "gat_supervised_contextpred": GAT,
}
SIZES = {  # tensors in the file, parameters, all numbers
    GIN: (57, 1_857_900, 1_860_905),
    GCN: (47, 504_900, 507_905),
    GraphSAGE: (47, 504_900, 507_905),
    GAT: (57, 977_400, 980_405),
}
# Stereo centres and bonds, a triple bond, charges, a lone atom, an atom without number.
MOLECULES = [
    "C[C@H](N)C(=O)O",
    "F/C=C/Cl",
    "CC#N",
    "[NH4+]",
    "C[N+](C)(C)CC([O-])=O",
    "*c1ccccc1",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
]


@pytest.fixture(scope="session")
def molecules():
    return SmilesToGraph(features="hu2020").fit_transform(MOLECULES)


def random_file(cls, width=6, n_layers=2, seed=0):
    """Tensors under the published names, written down once more."""
    rng = np.random.default_rng(seed)
    wide = 2 * width if cls is GAT else width
    shapes = {"x_embedding1.weight": (120, width), "x_embedding2.weight": (3, width)}
    for k in range(n_layers):
        layer = {
            "edge_embedding1.weight": (6, wide),
            "edge_embedding2.weight": (3, wide),
        }
        if cls is GIN:
            layer |= {
                "mlp.0.weight": (2 * width, width),
                "mlp.0.bias": (2 * width,),
                "mlp.2.weight": (width, 2 * width),
                "mlp.2.bias": (width,),
            }
        elif cls is GAT:
            layer |= {
                "weight_linear.weight": (wide, width),
                "weight_linear.bias": (wide,),
                "att": (1, 2, 2 * width),
                "bias": (width,),
            }
        else:
            layer |= {"linear.weight": (width, width), "linear.bias": (width,)}
        shapes |= {f"gnns.{k}.{key}": shape for key, shape in layer.items()}
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"batch_norms.{k}.{key}"] = (width,)
    tensors = {key: torch.tensor(rng.normal(size=s)) for key, s in shapes.items()}
    for k in range(n_layers):
        square = torch.rand(width, dtype=torch.float64) + 0.5
        mean = tensors[f"batch_norms.{k}.running_mean"]
        if cls is GraphSAGE:  # rows of length one
            mean *= 0.5 / mean.norm()
            square *= 0.75 / square.sum()
        tensors[f"batch_norms.{k}.running_var"] = square
        tensors[f"batch_norms.{k}.num_batches_tracked"] = torch.tensor(7)
    return {
        key: value.float() if value.ndim else value for key, value in tensors.items()
    }


def dense_states(tensors, graph, architecture):
    """Node states of one graph, from the formulas, in float64 and without torch."""
    p = {key: value.double().numpy() for key, value in tensors.items()}
    n = int(graph.n_nodes[0])
    atoms, bonds = graph.node_codes.astype(int), graph.edge_codes.astype(int)
    source = np.concatenate([graph.edge_index[0], np.arange(n)])
    target = np.concatenate([graph.edge_index[1], np.arange(n)])
    bonds = np.concatenate([bonds, np.tile([4, 0], (n, 1))])
    into = (target[None, :] == np.arange(n)[:, None]).astype(float)  # (n, n_edges)
    degree = into.sum(axis=1)
    h = p["x_embedding1.weight"][atoms[:, 0]] + p["x_embedding2.weight"][atoms[:, 1]]
    n_layers = sum(key.endswith(".running_var") for key in p)
    for k in range(n_layers):
        q = {key[7:]: v for key, v in p.items() if key.startswith(f"gnns.{k}.")}
        b = {key[14:]: v for key, v in p.items() if key.startswith(f"batch_norms.{k}.")}
        e = q["edge_embedding1.weight"][bonds[:, 0]]
        e = e + q["edge_embedding2.weight"][bonds[:, 1]]
        if architecture is GIN:
            m = into @ (h[source] + e)
            hidden = np.maximum(m @ q["mlp.0.weight"].T + q["mlp.0.bias"], 0.0)
            z = hidden @ q["mlp.2.weight"].T + q["mlp.2.bias"]
        elif architecture is GAT:
            z = _attend(q, h, e, source, target, into)
        else:
            x = h @ q["linear.weight"].T + q["linear.bias"]
            m = x[source] + e
            if architecture is GCN:
                z = into @ (m / np.sqrt(degree[source] * degree[target])[:, None])
            else:
                a = into @ m / degree[:, None]
                z = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
        z = (z - b["running_mean"]) / np.sqrt(b["running_var"] + 1e-5)
        z = z * b["weight"] + b["bias"]
        h = np.maximum(z, 0.0) if k < n_layers - 1 else z
    return h


def _attend(q, h, e, source, target, into):
    width = h.shape[1]
    x = h @ q["weight_linear.weight"].T + q["weight_linear.bias"]
    heads = []
    for k in range(2):
        own = x[:, k * width : (k + 1) * width]
        m = own[source] + e[:, k * width : (k + 1) * width]
        att = q["att"][0, k]
        s = own[target] @ att[:width] + m @ att[width:]
        s = np.where(s > 0, s, 0.2 * s)
        top = np.maximum(np.where(into > 0, s, -np.inf).max(axis=1), 0.0)
        raw = np.exp(s - top[target])
        alpha = raw / ((into @ raw)[target] + 1e-16)
        heads.append(into @ (alpha[:, None] * m))
    return np.mean(heads, axis=0) + q["bias"]


def assert_equals_dense(encoder, tensors, molecules, architecture):
    precise = copy.deepcopy(encoder).double()
    for i in range(len(molecules)):
        batch = molecules.batch([i])
        expected = dense_states(tensors, molecules[[i]], architecture)
        found = encoder(batch).detach().numpy()
        # Rounding of float32; the worst is gcn_contextpred, whose layers amplify most.
        assert np.linalg.norm(found - expected) < 2e-5 * np.linalg.norm(expected)
        features = {
            name: getattr(batch, name).double()
            for name in ("node_features", "edge_features")
        }
        found = precise(replace(batch, **features)).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cls", SIZES, ids=lambda c: c.__name__)
def test_a_file_of_published_names_gives_its_formula(cls, molecules, tmp_path):
    tensors = random_file(cls)
    torch.save(tensors, tmp_path / "bare.pth")
    encoder = cls.from_checkpoint(tmp_path / "bare.pth", dropout=0.5)
    assert (encoder.width, encoder.n_layers, encoder.dropout) == (6, 2, 0.5)
    assert not encoder.training
    assert_equals_dense(encoder, tensors, molecules, cls)
    # Under another key, with the prefix of a larger model.
    wrapped = {f"model.gnn.{key}": value for key, value in tensors.items()}
    torch.save({"model": wrapped}, tmp_path / "wrapped.pth")
    again = cls.from_checkpoint(tmp_path / "wrapped.pth")
    np.testing.assert_array_equal(again.embed(molecules), encoder.embed(molecules))


@pytest.mark.parametrize("cls", SIZES, ids=lambda c: c.__name__)
def test_sizes_are_the_published_ones(cls, tmp_path):
    tensors = random_file(cls, width=300, n_layers=5)
    torch.save(tensors, tmp_path / "file.pth")
    encoder = cls.from_checkpoint(tmp_path / "file.pth")
    n_parameters = sum(parameter.numel() for parameter in encoder.parameters())
    n_numbers = sum(value.numel() for value in encoder.state_dict().values())
    assert (len(tensors), n_parameters, n_numbers) == SIZES[cls]


@pytest.mark.parametrize(("name", "cls"), FILES.items(), ids=list(FILES))
def test_real_weights_give_the_dense_computation(name, cls, shared_weights, molecules):
    path = shared_weights / "pretrain_gnns" / f"{name}.pth"
    tensors = torch.load(path, weights_only=True, map_location="cpu")
    encoder = cls.from_checkpoint(path)
    assert_equals_dense(encoder, tensors, molecules, cls)
    assert encoder.embed(molecules).shape == (len(MOLECULES), 300)


@pytest.mark.parametrize("name", [name for name in FILES if "supervised" in name])
def test_real_molecules_have_the_statistics_that_the_files_store(
    name, shared_weights, shared_data
):
    lines = (shared_data / "Lipophilicity.csv").read_text().splitlines()[1:201]
    X = SmilesToGraph(features="hu2020").fit_transform(
        [line.rsplit(",", 1)[1] for line in lines]
    )
    encoder = FILES[name].from_checkpoint(shared_weights / f"pretrain_gnns/{name}.pth")
    seen = {}
    for k, norm in enumerate(encoder.norms):
        norm.register_forward_pre_hook(
            lambda norm, args, k=k: seen.update(
                {k: (args[0].mean(0) - norm.running_mean) / norm.running_var.sqrt()}
            )
        )
    encoder.embed(X)
    shifts = [float(shift.square().mean().sqrt()) for shift in seen.values()]
    assert len(shifts) == 5
    assert max(shifts) < 0.3  # another aggregation or softmax gives 0.4 and more


def test_files_of_other_architectures_are_refused(shared_weights):
    folder = shared_weights / "pretrain_gnns"
    with pytest.raises(ValueError, match="holds a GraphSAGE, by its running stat"):
        GCN.from_checkpoint(folder / "graphsage_supervised_contextpred.pth")
    with pytest.raises(ValueError, match=r"holds a GCN, .* GCN\.from_checkpoint"):
        GraphSAGE.from_checkpoint(folder / "gcn_supervised.pth")
    with pytest.raises(ValueError, match=r"missing gnns\.0\.mlp\.0\.weight"):
        GIN.from_checkpoint(folder / "gat_supervised_contextpred.pth")


def test_one_error_lists_all_that_is_wrong(tmp_path):
    tensors = random_file(GCN)
    del tensors["gnns.1.linear.bias"]
    tensors["head.weight"] = torch.zeros(2)
    tensors["x_embedding2.weight"] = torch.zeros(4, 6)
    torch.save(tensors, tmp_path / "file.pth")
    with pytest.raises(ValueError, match="does not hold a published GCN") as caught:
        GCN.from_checkpoint(tmp_path / "file.pth")
    for part in (
        r"missing gnns.1.linear.bias",
        "unexpected head.weight",
        "x_embedding2.weight of shape (4, 6) in place of (3, 6)",
    ):
        assert part in str(caught.value)


def test_no_code_is_executed_from_a_file(tmp_path):
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match="does not hold weights that are safe to read"):
        GCN.from_checkpoint(tmp_path / "file.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="must hold a dict of tensors by name"):
        GCN.from_checkpoint(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError):
        GCN.from_checkpoint(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gnns.0.linear.weight", np.nan, "has entries that are not finite"),
        ("batch_norms.0.running_var", -1.0, "negative variances"),
        ("x_embedding1.weight", None, "names a tensor twice"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(tmp_path, key, value, message):
    tensors = random_file(GCN)
    if value is None:
        tensors[f"gnn.{key}"] = tensors[key]
    else:
        tensors[key].view(-1)[0] = value
    torch.save(tensors, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=message):
        GCN.from_checkpoint(tmp_path / "file.pth")


@pytest.mark.parametrize(
    "encoder", [GIN(n_layers=-1), GIN(n_layers=1.5), GAT(n_heads=0), DMPNN(n_layers=0)]
)
def test_numbers_of_layers_and_heads_are_checked(encoder):
    X = SmilesToGraph().fit_transform(["CCO"])
    with pytest.raises(
        ValueError, match="'n_(layers|heads)' .* must be an int in the range"
    ):
        encoder.build(X.schema)
    with pytest.raises(TypeError, match="transform it with SmilesToGraph"):
        encoder.embed(["CCO"])


def test_other_featurizations_are_refused(tmp_path):
    torch.save(random_file(GCN), tmp_path / "file.pth")
    encoder = GCN.from_checkpoint(tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r'SmilesToGraph\(features="hu2020"\)'):
        encoder.embed(SmilesToGraph().fit_transform(["CCO"]))
