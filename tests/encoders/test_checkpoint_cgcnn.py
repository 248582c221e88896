"""Files of the CGCNN authors: read strictly, translated to their formula."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skgnn_mtl.encoders import CGCNN, read_cgcnn
from skgnn_mtl.graphs import GraphArray, GraphSchema

WIDTH, N_INPUTS, N_LAYERS, N_HIDDEN, STEP = 6, 4, 2, 5, 0.2
N_GAUSSIANS = 11
TABLE = tuple(tuple(row) for row in np.eye(3, N_INPUTS).tolist())
SCHEMA = GraphSchema(
    "crystal",
    node_columns=(("element", 3),),
    edge_features=("distance",),
    node_table=TABLE,
)


@pytest.fixture
def content():
    """A regression with one further dense layer, in the names of the authors."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    sizes = {"embedding": (WIDTH, N_INPUTS), "conv_to_fc": (N_HIDDEN, WIDTH)}
    sizes |= {"fcs.0": (N_HIDDEN, N_HIDDEN), "fc_out": (1, N_HIDDEN)}
    for k in range(N_LAYERS):
        sizes[f"convs.{k}.fc_full"] = (2 * WIDTH, 2 * WIDTH + N_GAUSSIANS)
    state = {}
    for name, (n_out, n_in) in sizes.items():
        state |= {f"{name}.weight": draw(n_out, n_in), f"{name}.bias": draw(n_out)}
    for k in range(N_LAYERS):
        for norm, width in (("bn1", 2 * WIDTH), ("bn2", WIDTH)):
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"convs.{k}.{norm}.{part}"] = draw(width).abs() + 0.1
    return {
        "args": {"task": "regression"},
        "state_dict": state,
        "normalizer": {"mean": torch.tensor(1.5), "std": torch.tensor(0.25)},
    }


def written(content, tmp_path):
    torch.save(content, tmp_path / "model.pth.tar")
    return tmp_path / "model.pth.tar"


def norm(state, name, rows):
    parts = (state[f"{name}.{k}"] for k in ("running_mean", "running_var"))
    return F.batch_norm(rows, *parts, state[f"{name}.weight"], state[f"{name}.bias"])


def test_sizes_head_and_scale_are_those_of_the_file(content, tmp_path):
    published = read_cgcnn(written(content, tmp_path))
    assert (published.width, published.n_layers) == (WIDTH, N_LAYERS)
    assert (published.n_inputs, published.step) == (N_INPUTS, STEP)
    assert published.max_distance == pytest.approx(STEP * (N_GAUSSIANS - 1))
    assert (published.mean, published.scale) == (1.5, 0.25)
    state = content["state_dict"]
    names = ["conv_to_fc", "fcs.0", "fc_out"]
    for name, (weight, bias) in zip(names, published.dense, strict=True):
        assert torch.equal(weight, state[f"{name}.weight"])
        assert torch.equal(bias, state[f"{name}.bias"])


def test_the_translated_encoder_is_the_formula_of_the_authors(content, tmp_path):
    published = read_cgcnn(written(content, tmp_path))
    encoder = CGCNN(
        published.width,
        n_layers=published.n_layers,
        max_distance=published.max_distance,
        step=published.step,
    )
    encoder.build(SCHEMA)
    encoder.load_state_dict(published.encoder)
    source, target = np.array([[1, 2, 0, 0], [0, 0, 1, 2]])
    distance = np.array([0.7, 1.1, 0.7, 1.1], dtype=np.float32)
    X = GraphArray(
        SCHEMA,
        n_nodes=[3],
        n_edges=[4],
        node_codes=[[0], [1], [2]],
        edge_index=[source, target],
        edge_features=distance[:, None],
    )
    state = content["state_dict"]
    v = F.linear(torch.eye(3, N_INPUTS), state["embedding.weight"])
    v = v + state["embedding.bias"]
    centers = STEP * torch.arange(N_GAUSSIANS)
    u = torch.exp(-(((torch.from_numpy(distance)[:, None] - centers) / STEP) ** 2))
    for k in range(N_LAYERS):
        conv = f"convs.{k}"
        rows = torch.cat([v[target], v[source], u], dim=1)
        z = F.linear(rows, state[f"{conv}.fc_full.weight"])
        z = norm(state, f"{conv}.bn1", z + state[f"{conv}.fc_full.bias"])
        gate, core = z.chunk(2, dim=1)
        messages = torch.sigmoid(gate) * F.softplus(core)
        sums = torch.zeros(3, WIDTH).index_add(0, torch.from_numpy(target), messages)
        v = F.softplus(v + norm(state, f"{conv}.bn2", sums))
    with torch.no_grad():
        found = encoder.eval()(X.batch([0]))
    torch.testing.assert_close(found, v, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"args": {"task": "classification"}}, "but holds a classifier"),
        ({"normalizer": {"mean": torch.tensor(0.0)}}, "not a checkpoint of CGCNN"),
        ({"state_dict": {}}, "not a checkpoint of CGCNN"),
        ({"args": None}, "not a checkpoint of CGCNN"),
        ({"args": torch.nn.Linear(1, 1)}, "not a checkpoint of CGCNN"),
    ],
    ids=["classifier", "half a scale", "no tensors", "no settings", "code"],
)
def test_other_files_are_refused(content, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_cgcnn(written(content | change, tmp_path))


def test_several_outputs_and_absent_files_are_refused(content, tmp_path):
    wide = copy.deepcopy(content)
    wide["state_dict"]["fc_out.weight"] = torch.zeros(2, N_HIDDEN)
    with pytest.raises(ValueError, match="or several outputs"):
        read_cgcnn(written(wide, tmp_path))
    with pytest.raises(FileNotFoundError):
        read_cgcnn(tmp_path / "absent")
