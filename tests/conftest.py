"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

# The tests' networks are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets, which are not part of the project."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the folder shared/data with the real data sets is absent")
    return folder


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of published weights, which are not part of the project."""
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip("the folder shared/weights with published weights is absent")
    return folder
