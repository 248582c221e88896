"""What atoms add to a prediction: sums, exact cases, order, checks of sanity."""

import builtins
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from crystals import CESIUM_CHLORIDE, COPPER, QUARTZ, ROCK_SALT
from rdkit import Chem
from rdkit.Chem import Crippen
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from small_estimators import SMILES, small

from skgnn_mtl import (
    CifToGraph,
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import (
    CGCNN,
    DMPNN,
    GAT,
    GCN,
    GIN,
    GraphEncoder,
    GraphSAGE,
    Pretrained,
)
from skgnn_mtl.featurizers import AtomColumn
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.inspection import _atom_attributions as implementation
from skgnn_mtl.inspection import atom_attributions
from skgnn_mtl.readouts import Sum

pytest.importorskip("captum")

X = SmilesToGraph().transform(SMILES)
LOGP = np.array([Crippen.MolLogP(Chem.MolFromSmiles(s)) for s in SMILES])
Y = np.column_stack([LOGP, 100 * X.n_nodes + 300.0, LOGP**2])
CRYSTALS = [CESIUM_CHLORIDE, COPPER, QUARTZ, ROCK_SALT]
METHODS = ["integrated_gradients", "occlusion"]


def regressor(encoder=None, **changes):
    encoder = encoder or DMPNN(16, n_layers=2)
    return small(encoder=encoder, **{"readout": "sum", "max_epochs": 5, **changes})


@pytest.fixture(scope="module")
def fitted():
    frame = pd.DataFrame(Y, columns=["logP", "mass", "square"])
    return regressor(head_hidden_dims=(8,)).fit(X, frame)


def zero_of(model, graphs):
    """Outputs for atoms without any feature, in the units of (transformed) y."""
    batch = graphs.batch(np.arange(len(graphs)))
    with torch.no_grad():
        rows, rest = model.module_.encoder.cut(batch)
        states = rest(torch.zeros_like(rows))
        return model.module_.predict_states(states, batch).double().numpy()


def sums(attributions):
    return np.array([values.sum(axis=0) for values in attributions])


# -- sums -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoder",
    [
        # Smooth, because kinks need very many points.
        DMPNN(16, activation="silu"),
        GIN(16, activation="silu"),
        GCN(16, activation="silu"),
        GraphSAGE(16, activation="silu"),
        GAT(16, activation="tanh"),
        Pretrained("zinc-descriptors"),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_attributions_of_molecules_sum_to_the_difference(encoder):
    graphs = X
    if isinstance(encoder, Pretrained):
        graphs = SmilesToGraph(features="chemprop").transform(SMILES)
    settings = {"head_hidden_dims": (8,), "head_activation": "silu", "max_epochs": 3}
    model = regressor(encoder, **settings).fit(graphs, LOGP)
    found, difference = atom_attributions(
        model, graphs, n_steps=150, return_difference=True
    )
    expected = model.predict(graphs) - (
        zero_of(model, graphs)[:, 0] * model.target_scale_ + model.target_mean_
    )
    np.testing.assert_allclose(difference, expected, rtol=1e-4, atol=1e-4)
    tolerance = 1e-3 * np.abs(difference).max()
    np.testing.assert_allclose(sums(found), difference, rtol=1e-3, atol=tolerance)


def test_attributions_of_sites_sum_to_the_difference_and_equal_sites_are_equal():
    graphs = CifToGraph().transform(CRYSTALS)
    model = small(encoder=CGCNN(8), max_epochs=3).fit(graphs, [1.0, 2.0, 3.0, 5.0])
    found, difference = atom_attributions(
        model, graphs, n_steps=50, return_difference=True
    )
    assert [len(a) for a in found] == graphs.n_nodes.tolist() == [2, 1, 9, 8]
    np.testing.assert_allclose(sums(found), difference, rtol=1e-3, atol=1e-4)
    for method in METHODS:
        salt = atom_attributions(model, graphs, method=method)[3]
        assert np.ptp(salt[:4]) < 1e-4 < abs(salt[0] - salt[4])
        assert np.ptp(salt[4:]) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_more_points_lower_the_error_of_integrated_gradients_only(fitted, method):
    def error(n_steps):
        found, difference = atom_attributions(
            fitted, X, method=method, n_steps=n_steps, return_difference=True
        )
        return np.abs(sums(found) - difference).max()

    assert (error(1) > 5 * error(50)) == (method == "integrated_gradients")


# -- a network whose answer is known --------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_sum_over_atoms_is_attributed_exactly(method):
    """A linear network on elements learns, and attributes, what each element adds."""
    worth = {"C": 0.5, "O": -1.2, "N": -0.9}
    smiles = [s for s in SMILES if {*s} <= {*"CON()=#1"}]
    y = [sum(worth.get(c, 0.0) for c in s) for s in smiles]
    columns = (AtomColumn("element", "GetSymbol", ("C", "N", "O")),)
    pipe = make_pipeline(
        SmilesToGraph(features=(columns, ())),
        regressor(GIN(8, n_layers=0), max_epochs=400, lr=0.03, batch_size=8),
    ).fit(smiles, y)
    found = atom_attributions(pipe, ["CC(=O)N", "OCC"], method=method, n_steps=1)
    np.testing.assert_allclose(found[0], [0.5, 0.5, -1.2, -0.9], atol=1e-2)
    np.testing.assert_allclose(found[1], [-1.2, 0.5, 0.5], atol=1e-2)
    # Exact for the network itself, whatever it has learned.
    module, graphs = pipe[-1].module_, pipe[0].transform(["CC(=O)N"])
    rows, _ = module.encoder.cut(graphs.batch([0]))
    exact = (rows @ module.heads.weight[0]).detach() * float(pipe[-1].target_scale_[0])
    np.testing.assert_allclose(found[0], exact, rtol=1e-4)


def test_occlusion_takes_one_atom_at_a_time(fitted):
    graphs = X[[16]]
    rows, rest = fitted.module_.encoder.cut(graphs.batch([0]))
    (found,) = atom_attributions(fitted, graphs, method="occlusion")
    for atom in (0, 3, len(rows) - 1):
        without = rows.index_fill(0, torch.tensor([atom]), 0.0)
        with torch.no_grad():
            outputs = fitted.module_.predict_states(rest(without), graphs.batch([0]))
        change = fitted.predict(graphs)[0] - (
            outputs.numpy()[0] * fitted.target_scale_ + fitted.target_mean_
        )
        np.testing.assert_allclose(found[atom], change, rtol=1e-3, atol=1e-3)


# -- the order of atoms ---------------------------------------------------------------


@pytest.mark.parametrize(
    "smiles",
    ["OCC", "[H]C([H])([H])O", "[2H]C([2H])O", "[H][H]", "[Na+].[Cl-]", "C[NH3+]"],
)
def test_nodes_are_in_the_order_of_the_molecule(smiles):
    expected = [a.GetAtomicNum() - 1 for a in Chem.MolFromSmiles(smiles).GetAtoms()]
    assert SmilesToGraph().transform([smiles]).node_codes[:, 0].tolist() == expected


def test_explicit_hydrogens_of_a_molecule_are_atoms(fitted):
    molecule = Chem.AddHs(Chem.MolFromSmiles("CO"))
    graphs = SmilesToGraph().transform([molecule])
    assert atom_attributions(fitted, graphs)[0].shape == (6, 3)


@pytest.mark.parametrize("method", METHODS)
def test_attributions_follow_the_atoms_through_another_smiles(fitted, method):
    pipe = make_pipeline(SmilesToGraph(), fitted)
    molecule = Chem.MolFromSmiles("CC(=O)Nc1ccc(O)cc1Cl")
    order = np.random.default_rng(0).permutation(molecule.GetNumAtoms()).tolist()
    permuted = Chem.RenumberAtoms(molecule, order)
    other = Chem.MolToSmiles(permuted, canonical=False)
    assert other != Chem.MolToSmiles(molecule, canonical=False)
    written = list(permuted.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    rows = ["CC(=O)Nc1ccc(O)cc1Cl", other]
    first, second = atom_attributions(pipe, rows, "logP", method=method)
    np.testing.assert_allclose(second, first[order][written], rtol=1e-3, atol=1e-4)


# -- tasks, units and kinds of estimators ---------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_tasks_are_columns(fitted, method):
    options = {"method": method, "return_difference": True}
    every, difference = atom_attributions(fitted, X[:5], **options)
    assert [a.shape for a in every] == [(n, 3) for n in X.n_nodes[:5]]
    assert difference.shape == (5, 3)
    for task in ("mass", 1):
        one, own = atom_attributions(fitted, X[:5], task, **options)
        for a, b in zip(one, every, strict=True):
            np.testing.assert_allclose(a, b[:, 1], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(own, difference[:, 1])
    two, _ = atom_attributions(fitted, X[:5], ["square", "logP"], **options)
    for a, b in zip(two, every, strict=True):
        np.testing.assert_allclose(a, b[:, [2, 0]], rtol=1e-5, atol=1e-4)
    assert atom_attributions(fitted, X[:1], ["logP"])[0].shape == (1, 1)


def test_a_single_task_has_one_dimension_unless_it_is_in_a_list():
    model = regressor(max_epochs=1).fit(X, LOGP)
    assert atom_attributions(model, X[[2]])[0].shape == (3,)
    assert atom_attributions(model, X[[2]], 0)[0].shape == (3,)
    assert atom_attributions(model, X[[2]], [0])[0].shape == (3, 1)


def test_attributions_have_the_units_of_y():
    one, thousand = (
        atom_attributions(regressor().fit(X, factor * LOGP + 7), X)
        for factor in (1.0, 1000.0)
    )
    for a, b in zip(one, thousand, strict=True):
        np.testing.assert_allclose(1000 * a, b, rtol=1e-3, atol=1e-2)


def test_a_transformed_target_is_explained_as_transformed():
    model = regressor(target_transform="log10").fit(X, 10.0**LOGP)
    found, difference = atom_attributions(model, X, n_steps=100, return_difference=True)
    scale, mean = model.targets_.spread, model.targets_.mean
    expected = np.log10(model.predict(X)) - (zero_of(model, X) * scale + mean)[:, 0]
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(sums(found), difference, rtol=5e-3, atol=5e-3)


def test_numbers_have_no_label():
    with pytest.raises(ValueError, match="must be None for a task of numbers"):
        atom_attributions(regressor().fit(X, Y), X, task=0, label=1.0)


def test_classifiers_are_explained_by_their_logits():
    y = np.where(Y[:, :2] > np.median(Y[:, :2], axis=0), "high", "low")
    model = small(MultiTaskGNNClassifier).fit(X, y)
    found, difference = atom_attributions(model, X, n_steps=100, return_difference=True)
    expected = model.predict_logits(X) - zero_of(model, X)
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(sums(found), difference, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_gate_has_attributions_of_sources_and_added_tasks(method):
    model = GATERegressor(
        encoder=DMPNN(8, n_layers=2, activation="silu"),
        latent_dim=4,
        add_task_steps=8,
        max_epochs=1,
        device="cpu",
        random_state=0,
    ).fit(X, pd.DataFrame(Y[:, :2], columns=["logP", "mass"]))
    model.add_task(X, LOGP**2, name="square")
    found, difference = atom_attributions(
        model, X, n_steps=60, method=method, return_difference=True
    )
    scale, mean = model.targets_.scale, model.targets_.mean
    expected = model.predict(X) - (zero_of(model, X) * scale + mean)
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-3)
    assert found[0].shape == (1, 3)
    if method == "integrated_gradients":
        tolerance = 2e-3 * np.abs(difference).max()
        np.testing.assert_allclose(sums(found), difference, atol=tolerance)


def test_gate_has_attributions_in_the_order_of_y():
    model = GATERegressor(
        encoder=DMPNN(8, n_layers=2),
        latent_dim=4,
        # Trained behind the other, although its column is the first.
        target_tasks=["logP"],
        add_task_steps=8,
        max_epochs=1,
        device="cpu",
        random_state=0,
    ).fit(X, pd.DataFrame(Y[:, :2], columns=["logP", "mass"]))
    for k, task in enumerate(["logP", "mass"]):
        _, difference = atom_attributions(
            model, X, task, method="occlusion", return_difference=True
        )
        scale, mean = model.targets_.scale, model.targets_.mean
        zero = zero_of(model, X)[:, model._state.output_order[k]] * scale[k] + mean[k]
        expected = model.predict(X)[:, k] - zero
        np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_graph_features_are_held_fixed(method):
    rng = np.random.default_rng(0)
    graphs = X.with_features(rng.normal(size=(len(X), 1)), ["pH"])
    y = LOGP + 5 * graphs.graph_features[:, 0]
    model = regressor(max_epochs=20).fit(graphs, y)
    other = X.with_features(graphs.graph_features + 1, ["pH"])
    assert np.abs(model.predict(other) - model.predict(graphs)).min() > 0.1
    # With linear heads the feature adds the same whatever the atoms are.
    first = atom_attributions(model, graphs, method=method, return_difference=True)
    second = atom_attributions(model, other, method=method, return_difference=True)
    np.testing.assert_allclose(first[1], second[1], rtol=1e-3, atol=1e-3)
    for a, b in zip(first[0], second[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


# -- sanity ---------------------------------------------------------------------------


def learner(**changes):
    settings = {"readout": Sum(norm=20), "batch_size": 32, "lr": 3e-3}
    return regressor(DMPNN(64), **settings, **{"max_epochs": 40, **changes})


@pytest.fixture(scope="module")
def learned():
    """A network that has learned logP on other molecules than those it explains."""
    smiles = np.asarray(load_physchem(return_X_y=True)[0], dtype=object)[:400]
    logp = np.array([Crippen.MolLogP(Chem.MolFromSmiles(s)) for s in smiles])
    pipe = make_pipeline(SmilesToGraph(), learner(random_state=0)).fit(
        smiles[:300], logp[:300]
    )
    assert pipe.score(smiles[300:], logp[300:]) > 0.8
    return pipe, smiles


def test_attributions_of_a_random_network_are_others(learned):
    """They come from what was learned, not from the molecules alone."""
    pipe, smiles = learned
    X_train, y = pipe[0].transform(smiles[:300]), pipe.predict(smiles[:300])
    graphs = pipe[0].transform(smiles[300:350])
    untrained = learner(max_epochs=1, random_state=1).set_params(lr=1e-9)
    models = [pipe[-1], untrained, learner(random_state=1)]
    for model in models[1:]:
        model.fit(X_train, y)
    for method in METHODS:
        first, random, second = (
            np.concatenate(atom_attributions(model, graphs, method=method))
            for model in models
        )
        assert np.corrcoef(first, second)[0, 1] > 0.9
        assert abs(np.corrcoef(first, random)[0, 1]) < 0.5


def with_hydroxyl(smiles):
    """Replace a hydrogen at the first carbon that has one; its position, too."""
    molecule = Chem.RWMol(Chem.MolFromSmiles(smiles))
    for atom in molecule.GetAtoms():
        if atom.GetSymbol() == "C" and atom.GetNumImplicitHs():
            oxygen = molecule.AddAtom(Chem.Atom(8))
            molecule.AddBond(atom.GetIdx(), oxygen, Chem.BondType.SINGLE)
            Chem.SanitizeMol(molecule)
            return molecule.GetMol(), atom.GetIdx()
    return None


@pytest.mark.parametrize("method", METHODS)
def test_an_added_hydroxyl_is_blamed_for_the_lower_prediction(learned, method):
    pipe, smiles = learned
    pairs = [(s, with_hydroxyl(s)) for s in smiles[300:]]
    pairs = [(s, *made) for s, made in pairs if made][:60]
    before = atom_attributions(pipe, [s for s, *_ in pairs], method=method)
    molecules = [molecule for _, molecule, _ in pairs]
    after = atom_attributions(pipe, molecules, method=method)
    falls = pipe.predict(molecules) < pipe.predict([s for s, *_ in pairs])
    changes = [np.append(b[:-1] - a, b[-1]) for a, b in zip(before, after, strict=True)]
    blamed = [change.argmin() == len(change) - 1 for change in changes]
    assert (falls & blamed).mean() >= 0.9


# -- rows, batches and the state of the estimator -------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_invalid_graphs_have_no_atoms(fitted, method):
    with pytest.warns(UserWarning, match="invalid"):
        graphs = SmilesToGraph(on_error="nan").transform(["CCO", "no", "C"])
    found, difference = atom_attributions(
        fitted, graphs, method=method, return_difference=True
    )
    assert [a.shape for a in found] == [(3, 3), (0, 3), (1, 3)]
    assert np.isnan(difference).all(axis=1).tolist() == [False, True, False]
    (none,) = atom_attributions(fitted, graphs[[1]], "logP", method=method)
    assert none.shape == (0,)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("most", [1, 20])
def test_batches_do_not_matter(fitted, method, most, monkeypatch):
    whole = atom_attributions(fitted, X, method=method, return_difference=True)
    monkeypatch.setattr(implementation, "_MOST_NODES", most)
    parts = atom_attributions(fitted, X, method=method, return_difference=True)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-4, atol=1e-3)
    for a, b in zip(whole[0], parts[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_explaining_changes_nothing(method):
    model = regressor(DMPNN(16, dropout=0.5)).fit(X, Y)
    state = {k: v.clone() for k, v in model.module_.state_dict().items()}
    settings = [p.requires_grad for p in model.module_.parameters()]
    gradients = [
        None if p.grad is None else p.grad.clone() for p in model.module_.parameters()
    ]
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    before = model.predict(X)
    first = atom_attributions(model, X, method=method)
    second = atom_attributions(model, X, method=method)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)  # no dropout
    for name, value in model.module_.state_dict().items():
        assert torch.equal(value, state[name])
    assert [p.requires_grad for p in model.module_.parameters()] == settings
    for parameter, gradient in zip(model.module_.parameters(), gradients, strict=True):
        assert gradient is None or torch.equal(parameter.grad, gradient)
    assert not model.module_.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads
    assert np.array_equal(model.predict(X), before)


def test_threads_and_modes_of_the_caller_do_not_matter(fitted):
    expected = atom_attributions(fitted, X)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: atom_attributions(fitted, X), range(4)))
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            results.append(atom_attributions(fitted, X))
    for found in results:
        assert all(map(np.array_equal, found, expected))


# -- errors ---------------------------------------------------------------------------


def test_wrong_input_is_refused(fitted):
    with pytest.raises(NotFittedError):
        atom_attributions(MultiTaskGNNRegressor(), X)
    with pytest.raises(ValueError, match=r"task names 'pKa'.*'logP', 'mass'"):
        atom_attributions(fitted, X, "pKa")
    with pytest.raises(TypeError, match="X must be a GraphArray, got list.*pipeline"):
        atom_attributions(fitted, SMILES)
    with pytest.raises(TypeError, match="X must be a GraphArray, got ndarray"):
        atom_attributions(fitted, np.ones((3, 2)))
    with pytest.raises(ValueError, match="X has other columns than in fit"):
        atom_attributions(fitted, GraphArray.from_features(np.ones((3, 2))))
    with pytest.raises(ValueError, match=r"method must be one of .*'gradient'"):
        atom_attributions(fitted, X, method="gradient")
    with pytest.raises(ValueError, match="n_steps must be an integer >= 1, got 0"):
        atom_attributions(fitted, X, n_steps=0)
    with pytest.raises(TypeError, match="needs one of GATERegressor.*GNNPretrainer"):
        atom_attributions(GNNPretrainer(), X)


def test_an_encoder_of_ones_own_needs_the_cut():
    class Own(GraphEncoder):
        def __init__(self, width=8):
            super().__init__()
            self.width = width

        def build(self, schema):
            super().build(schema)
            self.linear = torch.nn.Linear(schema.node_columns[0][1], self.width)

        def forward(self, batch):
            size = self.linear.in_features
            codes = batch.node_codes[:, 0].long()
            return self.linear(torch.nn.functional.one_hot(codes, size).float())

    model = regressor(Own(), max_epochs=1).fit(X, LOGP)
    with pytest.raises(TypeError, match="Own does not say .* cut"):
        atom_attributions(model, X)


def test_captum_is_asked_for_with_its_cure(fitted, monkeypatch):
    found = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("captum"):
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install captum\."):
        atom_attributions(fitted, X)
    assert len(atom_attributions(fitted, X[:2], method="occlusion")) == 2
