"""Small tables with gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def numbers():
    """X (60, 4), and a frame of two linear tasks with a third of the labels missing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = X @ rng.normal(size=(4, 2)) + 0.1 * rng.normal(size=(60, 2))
    y[rng.random(y.shape) < 1 / 3] = np.nan
    return X, pd.DataFrame(y, columns=["Tb", "logP"])


@pytest.fixture
def labels(numbers):
    """The same X, and classes of two tasks."""
    X, y = numbers
    return X, (y > 0).astype(float).where(y.notna())


SMILES = [
    *("CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl", "CCCC", "CCCCO"),
    *("CO", "CN", "CC=O", "c1ccccc1O", "CCCCCC", "CC(C)C", "OCCO", "NCCN"),
    *("CCBr", "CCF", "CCS", "CC#N", "c1ccncc1", "C1CCCCC1", "CCOCC", "CC(C)=O"),
]


@pytest.fixture
def smiles():
    """Names of 24 molecules, and a table of their numbers of letters."""
    length = np.array([float(len(s)) for s in SMILES])
    y = np.column_stack([length, length % 3])
    y[::5, 1] = np.nan
    return list(SMILES), y
