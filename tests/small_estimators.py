"""Small molecules, tables with gaps, and estimators that train in milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN

SMILES = [
    "C",
    "CC",
    "CCO",
    "CCN",
    "CCC",
    "CC(C)C",
    "CCCCO",
    "c1ccccc1",
    "Cc1ccccc1",
    "CC(=O)O",
    "CCCl",
    "CCBr",
    "CC#N",
    "C1CCCCC1",
    "c1ccncc1",
    "OCC(O)CO",
    "CC(=O)Nc1ccc(O)cc1",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "FC(F)(F)F",
    "N#N",
    "O=C=O",
    "CCOCC",
    "CSC",
    "c1ccc2ccccc2c1",
    "C[N+](=O)[O-]",
    "OC(=O)c1ccccc1OC(C)=O",
    "C=CC=C",
    "CCCCCCCC",
    "NCCO",
    "CC(C)(C)O",
]
PREDICTORS = (MultiTaskGNNClassifier, MultiTaskGNNRegressor)
SETTINGS = {"lr": 1e-2, "max_epochs": 3, "device": "cpu", "random_state": 0}


def small(cls: type = MultiTaskGNNRegressor, **changes: Any) -> Any:
    """Make an estimator with the settings above, some of them changed."""
    encoder = GIN(width=16, n_layers=2, norm=None)
    # The smallest network: linear heads on the mean of the atoms.
    heads = {"readout": "mean", "head_hidden_dims": ()} if cls in PREDICTORS else {}
    return cls(**{"encoder": encoder, **heads, **SETTINGS, **changes})


def with_gaps(table: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    """Leave out a share of the labels, but at least one label per row."""
    missing = np.random.default_rng(seed).random(table.shape) < share
    missing[missing.all(axis=1), 0] = False
    return np.where(missing, np.nan, table)


def halves(table: np.ndarray) -> np.ndarray:
    """Two classes per column, 1 above its median; gaps stay."""
    return np.where(np.isnan(table), np.nan, table > np.nanmedian(table, axis=0))
