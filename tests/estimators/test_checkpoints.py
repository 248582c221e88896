"""Fits that go on from the file of a process that was stopped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from small_estimators import small
from sklearn.model_selection import GroupKFold, ShuffleSplit
from skorch.callbacks import Callback

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
)
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators import _checkpoint
from skgnn_mtl.training import _net
from skgnn_mtl.weighting import (
    BLO,
    Curvature,
    DBMTL,
    NashMTL,
    PCGrad,
    RCGrad,
)

DROPOUT = {"encoder": GIN(width=16, n_layers=2, dropout=0.3)}
HELPED = {"target_tasks": "a", "batch_size": 8}
# What each kind of training keeps between two epochs.
KINDS = {
    "plain": {},
    "dropout": DROPOUT,
    "clip and muon": {"optimizer": "muon", "gradient_clip": 0.5},
    "sgd and warm-up": {"optimizer": "sgd", "lr_schedule": "warmup_cosine"},
    "surgery in random order": {"task_weighting": "pcgrad", **DROPOUT},
    "kept weights": {"task_weighting": PCGrad(update_every=3), "batch_size": 8},
    "representation": {"task_weighting": NashMTL(gradients="representation")},
    "around a target": {"task_weighting": "gcs", **HELPED},
    "jacobian": {"task_weighting": "graddrop"},
    "jacobian with means": {"task_weighting": DBMTL()},
    "random loss weights": {"task_weighting": "rlw"},
    "second look": {"task_weighting": "famo", **DROPOUT},
    "epoch means": {"task_weighting": "dwa"},
    "own parameters": {"task_weighting": "uncertainty"},
    "gradnorm": {"task_weighting": "gradnorm"},
    "curvature": {"task_weighting": Curvature(update_every=2), "batch_size": 8},
    "curvature of batches": {
        "task_weighting": Curvature(statistic="ggn_max", update_every=2, n_batches=3),
        "batch_size": 8,
    },
    "bi-level": {"task_weighting": BLO(every=2), **HELPED, **DROPOUT},
    "rotation": {"task_weighting": RCGrad(update_every=2), **HELPED},
    "rotation by held-out rows": {
        "task_weighting": RCGrad(learn="heldout", every=3, update_every=2),
        **HELPED,
    },
    "tail average": {"weight_averaging": "tail", **DROPOUT},
    "exponential average": {"weight_averaging": "ema", "early_stopping": True},
    "end with all rows": {"early_stopping": True, "n_iter_no_change": 2, "lr": 0.1},
    "end with tail": {
        "early_stopping": True,
        "n_iter_no_change": 1,
        "lr": 0.1,
        "weight_averaging": "tail",
    },
    "best weights": {
        "early_stopping": True,
        "n_iter_no_change": 2,
        "lr": 0.1,
        "validation": ShuffleSplit(1, test_size=0.3, random_state=0),
    },
    "plateau": {"lr_schedule": "plateau", "n_iter_no_change": 1, "lr": 0.1},
    "scored": {"early_stopping": True, "scoring": None, "n_iter_no_change": 2},
    "likelihood": {"loss": "beta_nll"},
    "auxiliary": {"auxiliary_tasks": ["atommasking", "infomax"], **DROPOUT},
    "spectra": {"hessian_spectrum": {"at": (0, 0.5, 1), "n_probes": 1}},
    "drawn seed": {"random_state": None},
}


class Killed(BaseException):
    """A process that ends, which nothing in the package expects."""


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Write after each epoch, however fast the epochs are."""
    monkeypatch.setattr(_checkpoint, "_LARGEST_SHARE", 1e12)


@pytest.fixture
def killed_after(monkeypatch):
    """Let the process end after some epochs; 0 stands for no end."""
    kept = _net._Net.keep
    count = {"left": 0}

    def keep(net, final):
        kept(net, final)
        count["left"] -= 1
        if count["left"] == 0:
            raise Killed

    monkeypatch.setattr(_net._Net, "keep", keep)
    return lambda n: count.update(left=n)


@pytest.fixture
def frame(gaps):
    return pd.DataFrame(gaps, columns=["a", "b", "c"])


def outcome(model, graphs):
    """Everything that must be the same: predictions, weights, records, curvature."""
    apply = model.transform if isinstance(model, GNNPretrainer) else model.predict
    records = [dict(record) for record in model.history_]
    for record in records:
        del record["seconds"]
    tensors = {k: v.numpy() for k, v in model.module_.state_dict().items()}
    found = {"predictions": apply(graphs), "weights": tensors, "records": records}
    found["best"] = model.best_epoch_
    if getattr(model, "hessian_spectrum", False):
        path = [*model.hessian_spectrum_path_, model.hessian_spectrum_]
        found["spectra"] = [spectrum.ritz_values for spectrum in path]
    return found


def assert_same(first, second):
    np.testing.assert_equal(first, second)


def resumed(make, fit, graphs, killed_after, path, after):
    """Fit in processes that end after 1, 2, ... epochs, and in one that does not."""
    for n in after:
        killed_after(n)
        with pytest.raises(Killed):
            fit(make(checkpoint=path))
        assert path.exists()
    killed_after(0)
    model = fit(make(checkpoint=path))
    assert not path.exists()
    return outcome(model, graphs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_goes_on_bit_for_bit(kind, graphs, frame, killed_after, tmp_path):
    def make(**more):
        return small(**{"max_epochs": 8, **KINDS[kind], **more})

    def fit(model):
        # Of the same global state, so that a drawn seed is another in each process.
        return model.fit(graphs, frame)

    path = tmp_path / "fit.checkpoint"
    np.random.seed(3)
    if kind == "drawn seed":
        state = np.random.get_state()
    expected = outcome(fit(make()), graphs)
    if kind == "drawn seed":
        np.random.set_state(state)
    assert_same(resumed(make, fit, graphs, killed_after, path, (1, 2, 2, 1)), expected)
