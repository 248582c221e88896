"""GATE's terms against loops over pairs, closed cases and finite differences."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_graphs import SCHEMA, random_graphs
from sklearn.exceptions import ConvergenceWarning

from skgnn_mtl.encoders import DMPNN, GIN
from skgnn_mtl.gate import (
    AdditionModel,
    AdditionStep,
    CachedDataset,
    Embedded,
    GATEModel,
    GATEStep,
    GATETerms,
    TaskLayout,
)
from skgnn_mtl.gate._model import TaskMLP, TaskModules
from skgnn_mtl.gate._terms import alignment, observe, pair_spread
from skgnn_mtl.graphs import Labels
from skgnn_mtl.optimizers import SAM, SAMO
from skgnn_mtl.readouts import Mean

LAYOUT = TaskLayout(4, (6,), (5,), (3,))
NONE = {"autoencoder": 0.0, "consistency": 0.0, "mapping": 0.0, "distance": 0.0}


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def group(n_tasks: int, width: int = 7) -> TaskModules:
    return TaskModules(width, n_tasks, LAYOUT).double()


def one_by_one(modules: TaskModules) -> list[TaskModules]:
    return [modules.select([i]) for i in range(modules.n_tasks)]


def evaluate(modules, e, targets, weights, rows, terms):
    """The terms as a training step computes them, with its random numbers."""
    z, u, lengths = observe(modules, e, terms.perturbations(e))
    y = modules.head(z)[..., 0]
    known = (weights.T > 0) & (terms.mapping_target == "labels")
    wanted = torch.where(known, targets.T, y)
    return alignment(modules, z, u, lengths, wanted, rows[:, 0] / rows.sum(), terms)


def by_loops(modules, e, targets, weights, terms) -> dict[str, torch.Tensor]:
    """The formulas of the documentation, pair by pair; one perturbation set given."""
    tasks, N, n = one_by_one(modules), modules.n_tasks, len(e)
    torch.manual_seed(1)
    eps = terms.perturbations(e)
    u = [task.frame(e)[0] for task in tasks]
    z = [task.encode(e)[0] for task in tasks]
    y = [task(e)[:, 0] for task in tasks]
    found = dict.fromkeys(NONE, torch.zeros((), dtype=torch.float64))
    for i in range(N):
        back = tasks[i].inverse(u[i])[0]
        found["autoencoder"] = found["autoencoder"] + (back - z[i]).square().mean()
        for j in range(N):
            if i == j:
                continue
            wanted = torch.where(weights[:, i] > 0, targets[:, i], y[i])
            route = tasks[i].head(tasks[i].inverse(u[j]))[0, :, 0]
            error = (route - wanted).square().mean() / (N - 1)
            found["mapping"] = found["mapping"] + error
            if i < j:
                gap = (u[i] - u[j]).square().mean() / (N - 1)
                found["consistency"] = found["consistency"] + gap
                for m in range(len(eps)):
                    s = [
                        (tasks[k].frame(e + eps[m])[0] - u[k]).norm(dim=-1)
                        for k in (i, j)
                    ]
                    gap = (s[0] - s[1]).square().sum() / (n * len(eps) * (N - 1))
                    found["distance"] = found["distance"] + gap
    return found


@pytest.fixture
def batch():
    e = torch.randn(9, 7, dtype=torch.float64)
    targets = torch.randn(9, 4, dtype=torch.float64)
    weights = (torch.rand(9, 4) < 0.5).double()
    return e, targets, weights, torch.ones(9, 1, dtype=torch.float64)


@pytest.mark.parametrize("n_tasks", [2, 3, 4])
def test_the_terms_are_the_sums_over_pairs(n_tasks, batch):
    e, targets, weights, rows = batch
    targets, weights = targets[:, :n_tasks], weights[:, :n_tasks]
    modules, terms = group(n_tasks), GATETerms()
    torch.manual_seed(1)
    values = evaluate(modules, e, targets, weights, rows, terms)
    loops = by_loops(modules, e, targets, weights, terms)
    assert values.keys() == loops.keys()
    for name, value in values.items():
        # The length of a step has 1e-12 under its root.
        tolerance = 1e-9 if name == "distance" else 1e-12
        torch.testing.assert_close(value.sum(), loops[name], rtol=tolerance, atol=1e-12)


def test_one_task_has_only_the_autoencoder_term(batch):
    e, targets, weights, rows = batch
    values = evaluate(group(1), e, targets[:, :1], weights[:, :1], rows, GATETerms())
    assert list(values) == ["autoencoder"]


def test_the_spread_of_pairs_is_a_closed_formula():
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    assert float(pair_spread(x)) == pytest.approx((1 + 9 + 4) / 2)


def test_tasks_may_come_in_any_order(batch):
    e, targets, weights, rows = batch
    modules, order = group(4), [2, 0, 3, 1]
    terms = GATETerms(perturbation="sphere")
    results = []
    for group_, columns in ((modules, slice(None)), (modules.select(order), order)):
        torch.manual_seed(1)
        results.append(
            evaluate(group_, e, targets[:, columns], weights[:, columns], rows, terms)
        )
    for name in NONE:
        a, b = (values[name].sum() for values in results)
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(results[0]["mapping"][order], results[1]["mapping"])


def test_equal_tasks_cost_nothing(batch):
    e, _, _, rows = batch
    modules = group(3).select([1, 1, 1])
    terms = GATETerms(mapping_target="predictions", autoencoder=0.0)
    nothing = torch.zeros(9, 3, dtype=torch.float64)
    values = evaluate(modules, e, nothing, nothing, rows, terms)
    for name in ("consistency", "distance"):
        assert values[name].item() < 1e-25


def test_integer_weights_repeat_rows(batch):
    e, targets, weights, _ = batch
    modules, terms = group(4), GATETerms(distance=0.0)
    rows = torch.tensor([2.0, 1, 0, 1, 3, 1, 0, 1, 2], dtype=torch.float64)
    weighted = evaluate(modules, e, targets, weights, rows[:, None], terms)
    index = torch.arange(9).repeat_interleave(rows.long())
    ones = torch.ones(len(index), 1, dtype=torch.float64)
    repeated = evaluate(modules, e[index], targets[index], weights[index], ones, terms)
    for name in weighted:
        torch.testing.assert_close(weighted[name], repeated[name])


@pytest.mark.parametrize("routes", [1, 2, "mean"])
def test_fewer_routes_estimate_all(routes, batch):
    e, targets, weights, rows = batch
    modules = group(4)
    with torch.no_grad():
        all_routes, few = (
            torch.stack(
                [
                    evaluate(
                        modules,
                        e,
                        targets,
                        weights,
                        rows,
                        GATETerms(**{**NONE, "mapping": 1.0}, routes=r),
                    )["mapping"].sum()
                    for _ in range(n)
                ]
            ).mean()
            for r, n in (("all", 1), (routes, 600 if routes != "mean" else 1))
        )
    if routes == "mean":
        assert float(few) < float(all_routes) * 1.5
    else:
        torch.testing.assert_close(few, all_routes, rtol=0.05, atol=0.0)


def test_many_tasks_have_three_routes():
    counts = [GATETerms().routes_of(n, "cpu").shape[1] for n in (2, 11, 12, 31)]
    assert counts == [1, 10, 3, 3]
    assert GATETerms(routes="all").routes_of(12, "cpu").shape == (12, 11)


def test_routes_never_start_at_the_own_frame():
    for routes in ("all", 1, 3):
        drawn = GATETerms(routes=routes).routes_of(5, "cpu")
        assert not (drawn == torch.arange(5)[:, None]).any()
        assert all(len(set(row)) == len(row) for row in drawn.tolist())


@pytest.mark.parametrize("name", list(NONE))
def test_a_term_of_weight_zero_is_not_computed(name, batch):
    e, targets, weights, rows = batch
    calls = []
    modules = group(4)

    def count(part, inputs, result):
        calls.append(result.numel())

    for part in modules.modules():
        if isinstance(part, TaskMLP):
            part.register_forward_hook(count)
    sizes = []
    for terms in (GATETerms(), replace(GATETerms(), **{name: 0.0})):
        calls.clear()
        values = evaluate(modules, e, targets, weights, rows, terms)
        sizes.append(sum(calls))
    assert name not in values
    # Consistency compares frames that exist in any case.
    assert sizes[1] == sizes[0] if name == "consistency" else sizes[1] < sizes[0]


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_perturbations_have_their_size(law):
    e = 3.0 * torch.randn(200, 50, dtype=torch.float64)
    terms = GATETerms(n_perturbations=300, perturbation=law, perturbation_scale=0.2)
    eps = terms.perturbations(e)
    assert eps.shape == (300, 50)
    sigma = 0.2 * e.square().mean().sqrt()
    torch.testing.assert_close(eps.square().mean().sqrt(), sigma, rtol=0.02, atol=0.0)
    if law == "sphere":
        torch.testing.assert_close(eps.norm(dim=-1), (sigma * 50**0.5).expand(300))


def test_without_the_distance_term_nothing_is_perturbed():
    e = torch.randn(9, 5, dtype=torch.float64)
    state = torch.get_rng_state()
    eps = GATETerms(distance=0.0, n_perturbations=3).perturbations(e)
    assert eps.shape == (0, 5)
    assert eps.dtype == e.dtype
    assert torch.equal(torch.get_rng_state(), state)
    lengths = observe(group(2, 5), e, eps)[2]
    assert lengths.shape == (2, 0, 9)
    assert GATETerms(distance=0.1, n_perturbations=3).perturbations(e).shape == (3, 5)


def test_shifted_inputs_are_mapped_one_after_the_other():
    mlp, x, shifts = TaskMLP(3, [7, 5, 2]), torch.randn(4, 7), torch.randn(6, 7)
    expected = torch.cat([mlp(x + shift) for shift in shifts], dim=1)
    torch.testing.assert_close(mlp(x, shifts), expected)


def test_gradients_are_those_of_finite_differences(batch):
    e, targets, weights, rows = batch
    modules = group(3)
    targets, weights = targets[:, :3], weights[:, :3]
    e.requires_grad_()
    # The size of perturbations follows e, but has no gradient: keep it out.
    terms = GATETerms(distance=0.0)

    def all_terms(x):
        values = evaluate(modules, x, targets, weights, rows, terms).values()
        return torch.cat([value.reshape(-1) for value in values])

    torch.autograd.gradcheck(all_terms, e)
    eps = GATETerms().perturbations(e)
    torch.autograd.gradcheck(
        lambda x: pair_spread(observe(modules, x, eps)[2]).sum(), e
    )


def test_every_map_of_every_task_is_trained(batch):
    e, targets, weights, rows = batch
    modules = group(3)
    values = evaluate(modules, e, targets[:, :3], weights[:, :3], rows, GATETerms())
    sum(value.sum() for value in values.values()).backward()
    for name, parameter in modules.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad.flatten(1).norm(dim=1) > 0).all(), name


def test_identical_points_have_finite_slopes():
    modules = group(2).select([0, 0])
    e = torch.zeros(3, 7, dtype=torch.float64, requires_grad=True)
    observe(modules, e, e[:1])[2].sum().backward()
    assert torch.isfinite(e.grad).all()


def test_the_maps_run_on_meta():
    modules = TaskModules(7, 3, LAYOUT).to("meta")
    e = torch.empty(5, 7, device="meta")
    blank = torch.empty(5, 3, device="meta")
    rows = torch.empty(5, 1, device="meta")
    for routes in ("all", "mean", 1):
        values = evaluate(modules, e, blank, blank, rows, GATETerms(routes=routes))
        assert all(value.device.type == "meta" for value in values.values())


@pytest.mark.parametrize("encoder", [GIN, DMPNN])
def test_the_whole_model_trains_and_grows_on_meta(encoder):
    model = GATEModel(
        encoder(8, n_layers=2), Mean(), SCHEMA, n_sources=3, layout=LAYOUT
    ).to("meta")
    X = random_graphs(20)
    graphs = X.batch(np.flatnonzero(X.valid)[:9]).to("meta")
    parts = [torch.empty(9, width, device="meta") for width in (3, 3, 1)]
    labels = Labels(parts[0], parts[1], (parts[2],))
    terms = GATETerms()

    def backward(model, step, batch, labels):
        found = step.evaluate(model, batch, labels)
        assert set(found.terms) == set(NONE)
        (found.losses.sum() + step._weighted(found.terms)).backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        assert all(p.grad.device.type == "meta" for p in trained)

    backward(model, GATEStep(terms, ["a", "b", "c"]), graphs, labels)
    e = model.embed(graphs).detach()
    addition = AdditionModel(model.eval(), [2, 0], terms.perturbations(e))
    with torch.no_grad():
        cache = addition.evaluate_sources(e)
    # With the cache, and without it as for a trained encoder.
    for batch in (cache, graphs):
        one = Labels(parts[0][:, :1], parts[1][:, :1], (parts[2],))
        backward(addition, AdditionStep(terms, ["new"]), batch, one)
    model.added.append(addition.new)
    assert model(graphs).shape == (9, 4)


# -- additions -----------------------------------------------------------------------


class Embeddings(torch.nn.Module):
    """The attributes of a network that an AdditionModel uses."""

    def __init__(self, n_sources: int) -> None:
        super().__init__()
        self.sources = group(n_sources)
        self.predict_sources = self.sources


def test_the_terms_of_an_addition_are_those_of_its_formula(batch):
    e, targets, weights, rows = batch
    whole = Embeddings(3)
    terms = GATETerms()
    eps = terms.perturbations(e)
    model = AdditionModel(whole, [2, 0], eps)
    labels = Labels(targets[:, :1], weights[:, :1], (rows,))
    with torch.no_grad():
        cache = model.evaluate_sources(e)
    found = AdditionStep(terms, ["new"]).evaluate(model, cache, labels)
    new, (s, t) = model.new, one_by_one(whole.sources.select([2, 0]))
    u = new.frame(e)[0]
    wanted = torch.where(labels.weights > 0, labels.targets, new(e))[:, 0]
    expected = dict.fromkeys(NONE, 0.0)
    expected["autoencoder"] = (new.inverse(u)[0] - new.encode(e)[0]).square().mean()
    for source in (s, t):
        v = source.frame(e)[0]
        expected["consistency"] += (u - v).square().mean() / 2
        expected["mapping"] += (new.arrive(v)[0] - wanted).square().mean() / 2
        expected["mapping"] += (
            source.arrive(u)[0] - source(e)[:, 0]
        ).square().mean() / 2
        for m in range(4):
            a = (new.frame(e + eps[m])[0] - u).norm(dim=-1)
            b = (source.frame(e + eps[m])[0] - v).norm(dim=-1)
            expected["distance"] += (a - b).square().mean() / 8
    for name, value in found.terms.items():
        torch.testing.assert_close(value.sum(), expected[name], rtol=1e-9, atol=1e-12)


def test_only_new_modules_are_trained(batch):
    e, targets, weights, rows = batch
    whole = Embeddings(3)
    before = {k: v.clone() for k, v in whole.state_dict().items()}
    terms = GATETerms()
    model = AdditionModel(whole, [0, 1, 2], terms.perturbations(e))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == sum(
        p.numel() for p in model.new.parameters()
    )
    step = AdditionStep(terms, ["new"])
    with torch.no_grad():
        cache = model.evaluate_sources(e)
    labels = Labels(targets[:, :1], weights[:, :1], (rows,))
    step.backward(model, cache, labels)
    assert all(p.grad is not None for p in trained)
    assert all(p.grad is None for p in whole.parameters())
    assert all(torch.equal(v, before[k]) for k, v in whole.state_dict().items())


def test_moved_weights_give_the_gradients_of_a_moved_addition(batch):
    """Losses and terms at weights uphill; the sources stay where they are."""
    e, targets, weights, rows = batch
    labels = Labels(targets[:, :1], weights[:, :1], (rows,))
    terms = GATETerms()
    model = AdditionModel(Embeddings(3), [0, 1, 2], terms.perturbations(e))
    with torch.no_grad():
        cache = model.evaluate_sources(e)
    twin, plain = copy.deepcopy(model), AdditionStep(terms, ["new"])
    plain.backward(twin, cache, labels)
    trained = [p for p in twin.parameters() if p.requires_grad]
    with torch.no_grad():
        for p, move in zip(trained, SAM(0.3)([p.grad for p in trained]), strict=True):
            p.add_(move)
            p.grad = None
    AdditionStep(terms, ["new"]).backward(twin, cache, labels)
    sharp = AdditionStep(terms, ["new"])
    sharp.sharpen(SAM(0.3))
    sharp.backward(model, cache, labels)
    own = [p for p in model.parameters() if p.requires_grad]
    for p, other in zip(own, trained, strict=True):
        torch.testing.assert_close(p.grad, other.grad)
        assert p.grad.any()
    with pytest.raises(ValueError, match="use 'sam'"):
        sharp.sharpen(SAMO())


def test_the_default_task_has_the_published_size():
    modules = TaskModules(300, 1, TaskLayout(64, (128,), (64,), (64,)))
    assert sum(p.numel() for p in modules.parameters()) == 67_649


def test_cached_rows_may_repeat_in_an_epoch():
    cache = Embedded.bare(torch.arange(3.0)[:, None])
    table = np.array([[1.0], [np.nan], [3.0]])
    weights = np.array([[1.0], [0.0], [1.0]])
    data = CachedDataset(cache, table, weights, np.ones((3, 1)), repeats=2)
    assert len(data) == 6
    batch, labels = data.__getitems__([5, 1])
    assert batch.vectors[:, 0].tolist() == [2.0, 1.0]
    assert labels.targets[:, 0].tolist() == [3.0, 1.0]  # a label stands in the gap


# -- collapse ------------------------------------------------------------------------


@pytest.mark.parametrize(("mapping", "collapses"), [(0.0, True), (1.0, False)])
def test_frames_collapse_without_a_term_that_spreads_them(mapping, collapses, recwarn):
    # A toy without graphs: two affine tasks of a vector.
    e = torch.randn(64, 7)
    targets = torch.stack([e[:, 0], 2 * e[:, 1] + e[:, 0]], dim=1)
    labels = Labels(targets, torch.ones(64, 2), (torch.ones(64, 1),))
    pulls = {"consistency": 10.0, "distance": 10.0, "mapping": mapping}
    terms = GATETerms(**{**NONE, **pulls})
    model = GATEModel.__new__(GATEModel)
    torch.nn.Module.__init__(model)
    model.sources, model.pretrained = TaskModules(7, 2, LAYOUT), None
    step = GATEStep(terms, ["a", "b"], n_warmup=5)
    adam = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(300):
        adam.zero_grad()
        step.backward(model, Embedded.bare(e), labels)
        adam.step()
        record = step.end_epoch(np.zeros(2))
    step.end_fit()
    warned = [w for w in recwarn if issubclass(w.category, ConvergenceWarning)]
    assert bool(warned) is collapses
    assert (min(record["frame_spread"].values()) < 0.01) is collapses
    if collapses:
        assert "mapping_weight" in str(warned[0].message)
