"""fit(hessian_spectrum=...) in scikit-learn's machinery."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.datasets import load_elasticity
from skgnn_mtl.encoders import CGCNN

OPTIONS = {"n_lanczos": 12, "n_eigenvalues": 2, "tol": 0.5}


def test_fit_ends_with_the_spectrum_of_the_training_rows(small, graphs, gaps):
    model = small(hessian_spectrum=OPTIONS).fit(graphs, gaps)
    s = model.hessian_spectrum_
    assert s.task_names == tuple(model.task_names_)
    assert s.n_samples == len(graphs)
    assert list(s.n_labels) == list((~np.isnan(gaps)).sum(axis=0))
    later = hessian_spectrum(
        model, graphs, gaps, random_state=s.settings["seed"], **OPTIONS
    )
    np.testing.assert_allclose(later.loss, s.loss)
    np.testing.assert_allclose(later.gradient_norm, s.gradient_norm)


def test_the_spectrum_does_not_change_the_training(small, graphs, gaps, same_weights):
    plain = small().fit(graphs, gaps)
    with_path = small(hessian_spectrum={**OPTIONS, "at": (0, 0.4, 1)})
    assert same_weights(with_path.fit(graphs, gaps), plain)


def test_true_takes_the_defaults(small, graphs, table):
    model = small(hessian_spectrum=True).fit(graphs, table[:, 0])
    assert model.hessian_spectrum_.eigenvalues.shape == (1, 10)


def test_the_path_is_taken_at_the_asked_epochs(small, graphs, gaps):
    model = small(hessian_spectrum={**OPTIONS, "at": (0, 0.5, 1)}, max_epochs=4)
    path = model.fit(graphs, gaps).hessian_spectrum_path_
    assert [s.settings["epoch"] for s in path] == [0, 2, 4]
    assert path[0].loss.mean() > path[-1].loss.mean()
    # The last one is at the parameters that predict uses.
    np.testing.assert_allclose(path[-1].loss, model.hessian_spectrum_.loss)
    assert (
        path[-1].eigenvalues[:, 0] == model.hessian_spectrum_.eigenvalues[:, 0]
    ).all()


def test_with_early_stopping_it_belongs_to_the_best_epoch(small, graphs, table):
    model = small(
        hessian_spectrum=OPTIONS, early_stopping=True, n_iter_no_change=2, max_epochs=9
    ).fit(graphs, table)
    assert model.hessian_spectrum_.n_samples < len(graphs)  # training rows alone


@pytest.mark.parametrize("name", ["hessian_spectrum_", "hessian_spectrum_path_"])
def test_without_it_the_attribute_says_how(small, graphs, table, name):
    model = small().fit(graphs, table)
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match="fit it with hessian_spectrum="):
        getattr(model, name)
    with pytest.raises(AttributeError, match="has no attribute 'spectrum_'"):
        _ = model.spectrum_


def test_a_later_fit_forgets_it(small, graphs, table):
    model = small(hessian_spectrum=OPTIONS).fit(graphs, table)
    model.set_params(hessian_spectrum=False).fit(graphs, table)
    assert not hasattr(model, "hessian_spectrum_")
    model.set_params(hessian_spectrum=OPTIONS).fit(graphs, table)
    model.partial_fit(graphs, table)
    assert not hasattr(model, "hessian_spectrum_")


def test_pipeline_search_clone_and_pickle(small, smiles, gaps):
    pipe = make_pipeline(SmilesToGraph(), small(hessian_spectrum=OPTIONS))
    search = GridSearchCV(
        pipe, {"multitaskgnnregressor__lr": [1e-3, 1e-2]}, cv=2, n_jobs=2
    ).fit(smiles, gaps)
    best = search.best_estimator_[-1]
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_equal(
        again.hessian_spectrum_.eigenvalues, best.hessian_spectrum_.eigenvalues
    )
    assert clone(best).hessian_spectrum == OPTIONS
    # A fitted pipeline is read as a whole.
    s = hessian_spectrum(
        search.best_estimator_, smiles, gaps, random_state=0, **OPTIONS
    )
    assert s.n_samples == len(smiles)


def test_a_pipeline_of_one_step_is_its_step_and_a_search_is_refused(
    small, graphs, gaps
):
    pipe = make_pipeline(small()).fit(graphs, gaps)
    options = {**OPTIONS, "random_state": 0}
    of_both = [hessian_spectrum(e, graphs, gaps, **options) for e in (pipe, pipe[0])]
    np.testing.assert_equal(of_both[0].eigenvalues, of_both[1].eigenvalues)
    search = GridSearchCV(small(), {"lr": [1e-3]}, cv=2).fit(graphs, gaps)
    with pytest.raises(TypeError, match="got GridSearchCV; of a search, pass best"):
        hessian_spectrum(search, graphs, gaps)


def test_the_blocks_of_a_dict_share_the_time(small, graphs, gaps):
    blocks = {"all": "all", "shared": "shared"}
    with pytest.warns(UserWarning, match="max_seconds=0.0005 "):
        hessian_spectrum(
            small().fit(graphs, gaps),
            graphs,
            gaps,
            parameters=blocks,
            max_seconds=1e-3,
            **{**OPTIONS, "tol": 1e9},
        )


def test_save_and_load_keep_it(small, graphs, gaps, tmp_path):
    model = small(hessian_spectrum={**OPTIONS, "at": (0, 1)}).fit(graphs, gaps)
    model.save(tmp_path / "model.pt")
    again = MultiTaskGNNRegressor.load(tmp_path / "model.pt")
    assert repr(again.hessian_spectrum_) == repr(model.hessian_spectrum_)
    assert len(again.hessian_spectrum_path_) == 2
    np.testing.assert_equal(
        again.hessian_spectrum_.ritz_values, model.hessian_spectrum_.ritz_values
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix": "hesian"}, "matrix must be one of"),
        ({"parameters": "body"}, "parameters must be one of"),
        ({"dtype": "int8"}, "dtype must be"),
        ({"n_probes": 0}, "n_probes must be an integer >= 1"),
        ({"n_samples": "a"}, "n_samples must be an integer >= 1"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"chunk": "x"}, "chunk must be an integer >= 1"),
        ({"tol": -1}, "tol must be a number >= 0"),
        ({"max_seconds": 0}, "max_seconds must be a number > 0"),
        ({"method": "nystrom"}, "set matrix='ggn'"),
        ({"at": 0.5}, r"hessian_spectrum\['at'\] must hold fractions"),
        ({"at": ["end"]}, r"hessian_spectrum\['at'\] must hold fractions"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_the_training(small, graphs, options, message):
    model = small(hessian_spectrum=options, callbacks=[None])  # which cannot train
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(graphs, graphs.n_nodes)


def test_numbers_of_numpy_are_numbers(small, graphs, table, tmp_path):
    options = {**OPTIONS, "n_lanczos": np.int64(5), "n_probes": np.int32(2)}
    model = small(hessian_spectrum=options).fit(graphs, table)
    model.hessian_spectrum_.save(tmp_path / "spectrum")
    assert not hasattr(
        small(hessian_spectrum=np.bool_(False)).fit(graphs, table), "hessian_spectrum_"
    )


def test_a_dict_of_blocks(small, graphs, gaps):
    blocks = {
        "first layer": lambda name: "layers.0" in name,
        "body": "shared",
    }
    model = small(hessian_spectrum={**OPTIONS, "parameters": blocks, "at": (1,)})
    model.fit(graphs, gaps)
    assert set(model.hessian_spectrum_) == set(blocks)
    assert model.hessian_spectrum_path_[0]["body"].settings["epoch"] == 3


def test_a_numeric_table_is_read_too(small):
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.column_stack([X[:, 0], X[:, 1] ** 2])
    model = small(hessian_spectrum=OPTIONS).fit(X, y)
    assert model.hessian_spectrum_.settings["dtype"] == "float64"


def test_absolute_error_refuses_the_gauss_newton_matrix(small, graphs, table):
    model = small(hessian_spectrum={"matrix": "ggn"}, loss="absolute_error")
    with pytest.raises(ValueError, match="matrix='hessian'"):
        model.fit(graphs, table)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_crystals_with_gaps_in_a_pipeline_a_search_and_a_pickle(small, matrix):
    cifs, y = load_elasticity(return_X_y=True)
    cifs, y = cifs[:20], y[:20].mask(np.random.default_rng(0).random((20, 4)) < 0.3)
    options = {**OPTIONS, "matrix": matrix, "at": (0, 1)}
    network = small(encoder=CGCNN(width=8, n_layers=1), hessian_spectrum=options)
    search = GridSearchCV(
        make_pipeline(CifToGraph(max_neighbors=6), network),
        {"multitaskgnnregressor__encoder__width": [8]},
        cv=2,
        error_score="raise",
    ).fit(cifs, y)
    best = pickle.loads(pickle.dumps(search.best_estimator_[-1]))
    s = best.hessian_spectrum_
    assert s.task_names == tuple(y.columns)
    assert list(s.n_labels) == list(y.notna().sum())
    assert [p.settings["epoch"] for p in best.hessian_spectrum_path_] == [0, 3]
    assert (s.eigenvalues[:, 0] > 0).all()
    if matrix == "ggn":
        # The quadrature of each task adds up to its trace, none of it negative.
        assert (s.ritz_values >= -1e-4 * s.eigenvalues.max()).all()
        assert (s.trace > 0.9 * s.eigenvalues[:, 0]).all()
