"""scikit-learn's own checks on the real estimators, without expected failures."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
)
from skgnn_mtl.encoders import DMPNN, GIN

# Full batches and no batch normalisation: the checks ask that an integer weight equals
# a repeated row, which only the loss over all rows at once can give.
SETTINGS = {"batch_size": 1000, "max_epochs": 60, "lr": 1e-2, "device": "cpu"}


@parametrize_with_checks(
    [
        MultiTaskGNNRegressor(GIN(width=32, n_layers=1, norm=None), **SETTINGS),
        MultiTaskGNNRegressor(
            DMPNN(width=32),
            readout="attention",
            head_hidden_dims=(16,),
            task_weighting="uncertainty",
            **SETTINGS,
        ),
    ]
)
def test_regressor(estimator, check):
    check(estimator)


# Two of the checks leave a single class to train on.
@pytest.mark.filterwarnings("ignore:.*labels of one class only:UserWarning")
@parametrize_with_checks(
    [
        MultiTaskGNNClassifier(GIN(width=32, n_layers=1, norm=None), **SETTINGS),
        MultiTaskGNNClassifier(
            DMPNN(width=32),
            readout="attention",
            head_hidden_dims=(16,),
            class_weight="balanced",
            task_weighting="upgrad",
            **SETTINGS,
        ),
    ]
)
def test_classifier(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        GATERegressor(
            GIN(width=32, n_layers=1, norm=None),
            latent_dim=8,
            encoder_hidden_dims=(16,),
            transfer_hidden_dims=(8,),
            head_hidden_dims=(8,),
            **SETTINGS,
        )
    ]
)
def test_gate(estimator, check):
    check(estimator)


# Rows of a table have no element to guess: what they can be pretrained on is y.
@parametrize_with_checks(
    [
        GNNPretrainer(
            GIN(width=32, n_layers=1, norm=None), auxiliary_tasks=(), **SETTINGS
        ),
        GNNPretrainer(
            DMPNN(width=32),
            readout="attention",
            auxiliary_tasks=(),
            target_loss="huber",
            task_weighting="upgrad",
            **SETTINGS,
        ),
    ]
)
def test_pretrainer(estimator, check):
    check(estimator)
