"""pickle, joblib, save and load, also from a fresh process."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from importlib.metadata import version
from zipfile import ZipFile

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save as save_tensors
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from skgnn_mtl import GraphArray, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl._archive import read_archive, write_archive
from skgnn_mtl.encoders import DMPNN, GIN
from skgnn_mtl.metrics import nan_r2_scorer
from skgnn_mtl.readouts import Attention
from skgnn_mtl.weighting import Fixed, ScaleInvariant, Uncertainty

TORCH = version("torch")
FRESH_PROCESS = """
import pickle, sys
import joblib, numpy as np
folder = sys.argv[1]
with open(folder + "/model.pkl", "rb") as file:
    pickled = pickle.load(file)
dumped = joblib.load(folder + "/model.joblib")
from skgnn_mtl import GraphArray, MultiTaskGNNRegressor
saved = MultiTaskGNNRegressor.load(folder + "/model.file")
graphs = GraphArray.load(folder + "/graphs")
smiles = (folder + "/smiles.txt")
with open(smiles) as file:
    smiles = file.read().split()
np.savez(
    folder + "/predictions.npz",
    pickled=pickled.predict(smiles),
    dumped=dumped.predict(graphs),
    saved=saved.predict(graphs),
    mapped=joblib.load(folder + "/model.joblib", mmap_mode="r").predict(graphs),
)
"""


@pytest.fixture
def model(small, graphs, gaps):
    """A fitted estimator with state in every corner."""
    estimator = small(
        encoder=GIN(16, n_layers=2, norm="batch", dropout=0.1),
        readout=Attention(n_heads=2),
        head_hidden_dims=(8,),
        task_weighting=Uncertainty(lr=0.25),
        early_stopping=True,
        validation=0.3,
        batch_size=8,
    )
    return estimator.fit(graphs, pd.DataFrame(gaps, columns=["Tb (K)", "b", "c"]))


# -- pickle ---------------------------------------------------------------------------


def test_a_fresh_process_predicts_the_same(
    model, small, graphs, gaps, smiles, tmp_path
):
    pipeline = make_pipeline(SmilesToGraph(), model)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(pipeline))
    joblib.dump(model, tmp_path / "model.joblib")
    model.save(tmp_path / "model.file")
    graphs.save(tmp_path / "graphs")
    (tmp_path / "smiles.txt").write_text("\n".join(smiles))
    subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:`torch.jit:DeprecationWarning",
         "-W", "ignore:`torch.jit:FutureWarning",
         "-c", FRESH_PROCESS, str(tmp_path)],
        check=True,
    )  # fmt: skip
    expected = model.predict(graphs)
    with np.load(tmp_path / "predictions.npz") as predictions:
        assert set(predictions) == {"pickled", "dumped", "saved", "mapped"}
        for name in predictions:
            np.testing.assert_allclose(
                predictions[name], expected, rtol=1e-6, err_msg=name
            )


def test_pickles_before_and_after_predict(model, graphs):
    before = pickle.loads(pickle.dumps(model))
    expected = model.predict(graphs)
    after = pickle.loads(pickle.dumps(model))
    assert np.array_equal(before.predict(graphs), expected)
    assert np.array_equal(after.predict(graphs), expected)


def test_an_unfitted_estimator_can_be_pickled(small):
    twin = pickle.loads(pickle.dumps(small(task_weighting=Fixed([1.0]))))
    assert repr(twin) == repr(small(task_weighting=Fixed([1.0])))


def test_deep_copies_are_apart(model, graphs, gaps):
    frame = pd.DataFrame(gaps, columns=["Tb (K)", "b", "c"])
    expected, twin = model.predict(graphs), copy.deepcopy(model)
    twin.partial_fit(graphs, frame)
    assert np.array_equal(model.predict(graphs), expected)
    assert not np.array_equal(twin.predict(graphs), expected)


def test_pickling_does_not_change_the_original(model, graphs):
    before = {name: id(value) for name, value in vars(model).items()}
    pickle.dumps(model)
    assert {name: id(value) for name, value in vars(model).items()} == before


def test_a_pickle_is_little_more_than_its_weights(small, graphs, gaps):
    model = small(encoder=DMPNN(128), max_epochs=2).fit(graphs, gaps)
    n_bytes = sum(4 * p.numel() for p in model.module_.parameters())
    assert len(pickle.dumps(model)) < 1.2 * n_bytes
    model.set_params(max_epochs=100, warm_start=True)
    assert len(pickle.dumps(model.fit(graphs[:2], gaps[:2]))) < 1.5 * n_bytes


# -- save and load --------------------------------------------------------------------


def test_what_is_loaded_is_what_was_saved(model, graphs, tmp_path):
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(graphs), model.predict(graphs))
    assert np.array_equal(loaded.embed(graphs), model.embed(graphs))
    assert repr(loaded) == repr(model)
    assert loaded.head_hidden_dims == (8,)
    assert loaded.history_ == model.history_
    assert loaded.task_names_ == ["Tb (K)", "b", "c"]
    assert loaded.best_epoch_ == model.best_epoch_
    assert loaded.schema_ == model.schema_
    assert np.array_equal(loaded.task_weights_, model.task_weights_)
    assert set(vars(loaded)) == set(vars(model))
    values = loaded.task_weighting_.log_variances
    assert torch.equal(values, model.task_weighting_.log_variances)
    assert not loaded.module_.training


def test_a_loaded_estimator_can_be_saved_again(model, graphs, tmp_path):
    model.save(tmp_path / "first")
    MultiTaskGNNRegressor.load(tmp_path / "first").save(str(tmp_path / "second"))
    again = MultiTaskGNNRegressor.load(str(tmp_path / "second"))
    assert np.array_equal(again.predict(graphs), model.predict(graphs))


COPIED_SCORER = clone(nan_r2_scorer, safe=False)  # as clones of estimators have it


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "gcn", "max_epochs": 1},
        {"encoder": DMPNN(8), "readout": "sum"},
        {"task_weighting": Fixed(np.array([1.0, 2.0, 3.0]))},
        {"task_weighting": Fixed({"a": 1.0, "b": 2.0, "c": 3.0})},
        {"task_weighting": ScaleInvariant(eps=1e-3)},
        {"target_tasks": ["a", 1], "head_hidden_dims": [4]},
        {"target_tasks": np.array([0, 2])},
        {"random_state": None, "device": torch.device("cpu"), "verbose": False},
        {"lr": np.float32(1e-2), "batch_size": np.int64(8)},
        {"validation": 0.3, "early_stopping": True, "scoring": COPIED_SCORER},
    ],
    ids=str,
)
def test_every_plain_parameter_is_kept(small, graphs, gaps, tmp_path, changes):
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    model = small(**changes).fit(graphs, frame)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(graphs), model.predict(graphs))
    loaded.fit(graphs, frame)
    if model.random_state is not None:
        assert np.array_equal(loaded.predict(graphs), model.predict(graphs))


def test_dimensions_of_y_are_kept(small, graphs, table, tmp_path):
    for k, y in enumerate([table[:, 0], table[:, :1]]):
        small().fit(graphs, y).save(tmp_path / str(k))
        loaded = MultiTaskGNNRegressor.load(tmp_path / str(k))
        assert loaded.predict(graphs).shape == y.shape


def test_a_table_with_names_is_kept(small, gaps, tmp_path):
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=(30, 2)), columns=["u", "v"]
    )
    model = small().fit(frame, gaps)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    assert loaded.feature_names_in_.tolist() == ["u", "v"]
    assert loaded.feature_names_in_.dtype == object
    assert loaded.n_features_in_ == 2
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    assert {p.dtype for p in loaded.module_.parameters()} == {torch.float64}
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["v", "u"]])


def test_records_with_gaps_are_kept(small, graphs, gaps, tmp_path):
    model = small().partial_fit(graphs, gaps)
    gaps[:, 1] = np.nan
    model.partial_fit(graphs, gaps)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    assert np.isnan(loaded.history_[1]["train_losses"]["task_1"])
    assert loaded.history_[0] == model.history_[0]


def test_training_goes_on_after_loading(small, graphs, gaps, tmp_path):
    model = small(warm_start=True, task_weighting="uncertainty").fit(graphs, gaps)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    loaded.partial_fit(graphs, gaps)
    assert [r["epoch"] for r in loaded.history_] == [1, 2, 3, 4]
    again = MultiTaskGNNRegressor.load(tmp_path / "model").fit(graphs, gaps)
    model.fit(graphs, gaps)
    assert len(again.history_) == 6
    np.testing.assert_allclose(again.predict(graphs), model.predict(graphs), rtol=1e-6)


class Quiet(Callback):
    pass


class OwnGIN(GIN):
    def __init__(self, width=300):
        super().__init__(width, n_layers=1, norm=None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callbacks", [Quiet()]),
        ("validation", KFold(3)),
        ("optimizer", torch.optim.SGD),
        ("loss", lambda outputs, targets: (outputs - targets) ** 2),
        ("random_state", np.random.RandomState(0)),
        ("encoder", OwnGIN(8)),
    ],
)
def test_what_a_file_cannot_hold_is_named(small, graphs, gaps, tmp_path, name, value):
    model = small(**{name: value}).fit(graphs, gaps)
    with pytest.raises(ValueError, match=f"{name} is .*pickle"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not a zip", b"\x80"])
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="foreign is not a saved MultiTaskGNNRegressor"
    ):
        MultiTaskGNNRegressor.load(path)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"format": "other"},
        {"format": "skgnn_mtl.estimator"},
        {"format": "skgnn_mtl.estimator", "kind": "MultiTaskGNNRegressor"},
        {"format": "skgnn_mtl.estimator", "kind": ["MultiTaskGNNRegressor"]},
    ],
    ids=str,
)
def test_archives_that_are_none_of_ours_are_refused(tmp_path, header):
    write_archive(tmp_path / "foreign", header, {})
    with pytest.raises(ValueError, match="foreign"):
        MultiTaskGNNRegressor.load(tmp_path / "foreign")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        MultiTaskGNNRegressor.load(tmp_path / "nothing")


def test_a_truncated_file_is_refused(model, tmp_path):
    model.save(tmp_path / "model")
    whole = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a saved"):
        MultiTaskGNNRegressor.load(tmp_path / "model")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["pickle", "torch", "torch in header"])
def test_code_in_a_file_is_not_executed(tmp_path, how):
    marker, path = tmp_path / "executed", tmp_path / "bomb"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Bomb(marker)))
    elif how == "torch":
        torch.save({"header": "{}", "tensors": Bomb(marker)}, path)
    else:
        torch.save({"header": Bomb(marker), "tensors": {}}, path)
    # Writing does not execute anything either.
    assert not marker.exists()
    with pytest.raises(ValueError, match="bomb is not a saved"):
        MultiTaskGNNRegressor.load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "part",
    [
        "os.system",
        "encoders.GraphEncoder",
        "encoders._base.BatchNorm",
        "training.train",
    ],
)
def test_only_parts_of_the_package_are_made(model, tmp_path, part):
    model.save(tmp_path / "model")
    rewrite(tmp_path / "model", "encoders.GIN", part)
    with pytest.raises(ValueError, match=f"unknown.*{part}|{part}.*unknown"):
        MultiTaskGNNRegressor.load(tmp_path / "model")


def test_only_scorers_of_the_package_are_found(small, graphs, gaps, tmp_path):
    model = small(scoring=nan_r2_scorer).fit(graphs, gaps)
    model.save(tmp_path / "model")
    assert MultiTaskGNNRegressor.load(tmp_path / "model").scoring is nan_r2_scorer
    rewrite(tmp_path / "model", "nan_r2_scorer", "os.system")
    with pytest.raises(ValueError, match=r"unknown: .*os.system"):
        MultiTaskGNNRegressor.load(tmp_path / "model")


def test_parameters_of_a_file_are_checked(model, tmp_path):
    model.save(tmp_path / "model")
    rewrite(tmp_path / "model", *(f'"lr", {lr}]' for lr in (model.lr, -1.0)))
    with pytest.raises(ValueError, match="not a valid MultiTask.*'lr' parameter"):
        MultiTaskGNNRegressor.load(tmp_path / "model")


def test_a_network_must_have_the_shapes_of_its_parameters(model, tmp_path):
    model.save(tmp_path / "model")
    # Such a layer would take 4 TB.
    rewrite(tmp_path / "model", *(f'"width", {n}]' for n in (16, 10**6)))
    with pytest.raises(ValueError, match="not a valid .* its tensor .* has shape"):
        MultiTaskGNNRegressor.load(tmp_path / "model")


def rewrite(path, old, new):
    """Replace a text in the header of a file, and seal it again."""
    header, members = read_archive(path, "file")
    text = json.dumps(header)
    assert old in text
    write_archive(path, json.loads(text.replace(old, new)), members)


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {"tensor": "none"},
        {"tuple": 3},
        {"dict": [[1, 2, 3]]},
        {"array": [1], "dtype": "nothing"},
        {"array": [1, [2]], "dtype": "<f8"},
        {"part": "encoders.GIN", "parameters": {"dict": [["nothing", 1]]}},
        {"part": 3},
        {"spectrum": {"dict": []}},
        {"schema": {}},
    ],
    ids=str,
)
def test_whatever_a_file_says_wrong_is_one_error(tmp_path, values):
    header = {"format": "skgnn_mtl.estimator", "kind": "MultiTaskGNNRegressor"}
    members = {"tensors.safetensors": save_tensors({})}
    write_archive(tmp_path / "model", {**header, "values": values}, members)
    with pytest.raises(ValueError, match="model is not a valid MultiTaskGNNRegressor"):
        MultiTaskGNNRegressor.load(tmp_path / "model")


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    for name in "ab":
        model.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_tells_people_what_it_is(model, tmp_path):
    model.save(tmp_path / "model", description="Boiling points.")
    with ZipFile(tmp_path / "model") as archive:
        card = archive.read("README.md").decode()
        assert json.loads(archive.read("header.json"))["format_version"] == 1
    for text in ("Boiling points.", "encoder=GIN(", "* Tb (K)", f"torch {TORCH}"):
        assert text in card


class OtherRegressor(MultiTaskGNNRegressor):
    pass


def test_a_file_of_another_class_is_refused(model, tmp_path):
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="holds a MultiTaskGNNRegressor, not a Other"):
        OtherRegressor.load(tmp_path / "model")


def test_loading_does_not_touch_the_default_dtype_or_threads(model, graphs, tmp_path):
    model.save(tmp_path / "model")
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    MultiTaskGNNRegressor.load(tmp_path / "model").predict(graphs)
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == dtype


def test_graphs_and_model_of_two_files(model, graphs, tmp_path):
    model.save(tmp_path / "model")
    graphs.save(tmp_path / "graphs")
    stored = GraphArray.load(tmp_path / "graphs", mmap_mode="r")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(stored), model.predict(graphs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_pickle_from_an_accelerator_holds_cpu_tensors_only(small, graphs, gaps):
    model = small(device="cuda").partial_fit(graphs, gaps)
    state = model.__getstate__()
    tensors = list(state["_fitted_state"].module.state_dict().values())
    for slot in state["_fitted_state"].optimizer_state["state"].values():
        tensors += [value for value in slot.values() if torch.is_tensor(value)]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
