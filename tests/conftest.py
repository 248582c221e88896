"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

# The tests' networks are tiny: more threads would only wait for each other.
torch.set_num_threads(1)


class FigureCloser:
    """Close the figures of each test, and of each docstring outside this folder."""

    def pytest_runtest_teardown(self) -> None:
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close("all")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FigureCloser())


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


@pytest.fixture
def script(monkeypatch) -> Callable[[str], ModuleType]:
    """Import a script of ``tests/benchmarks``, whose scripts import each other."""
    folder = Path(__file__).resolve().parent / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module


@pytest.fixture
def memory_of(monkeypatch) -> Callable[[int], list[int]]:
    """Let no more vector-Jacobian products at a time fit in memory than a number.

    The call gives the list to which every request adds its number of products.
    """
    differentiate = torch.autograd.grad

    def limit(n_rows: int) -> list[int]:
        asked: list[int] = []

        def grad(
            outputs, inputs, cotangents=None, *, is_grads_batched=False, **options
        ):
            asked.append(len(cotangents[0]) if is_grads_batched else 1)
            if asked[-1] > n_rows:
                raise torch.OutOfMemoryError("full")
            return differentiate(
                outputs,
                inputs,
                cotangents,
                is_grads_batched=is_grads_batched,
                **options,
            )

        monkeypatch.setattr(torch.autograd, "grad", grad)
        return asked

    return limit
