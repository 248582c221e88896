"""Parameters of weightings are checked before a fit, by name; found by fuzzing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl import weighting as family
from skgnn_mtl.weighting import (
    BLO,
    FAMO,
    PBI,
    CAGrad,
    Curvature,
    Fixed,
    GradDrop,
    NashMTL,
)

ODD = [
    [],
    "a",
    object(),
    np.nan,
    np.inf,
    1j,
    True,
    pd.NA,
    np.array([1.0, 2.0]),
    10**400,
]
NUMBERS = [
    ("DWA", "temperature"),
    ("DBMTL", "beta"),
    ("DBMTL", "beta_decay"),
    ("Uncertainty", "init"),
    ("Uncertainty", "lr"),
    ("IMTLL", "init"),
    ("IMTLL", "lr"),
    ("FAMO", "lr"),
    ("FAMO", "weight_decay"),
    ("GeometricMean", "eps"),
    ("ScaleInvariant", "eps"),
    ("GradNorm", "alpha"),
    ("GradNorm", "lr"),
    ("GradVac", "beta"),
    ("NTKMTLSR", "exponent"),
    ("NashMTL", "max_norm"),
    ("STCH", "mu"),
    ("STCH", "warmup_epochs"),
    ("CAGrad", "c"),
    ("CAGrad", "shrink"),
    ("FairGrad", "alpha"),
    ("GNS", "max_scale"),
    ("RCGrad", "rotation_init"),
    ("RCGrad", "rotation_lr"),
    ("RCGrad", "max_gain"),
    ("RCGrad", "decay_steps"),
    ("BLO", "lr"),
    ("BLO", "momentum"),
    ("BLO", "clip"),
    ("BLO", "scale"),
    ("Curvature", "exponent"),
    ("Curvature", "ema"),
    ("Curvature", "floor"),
]
CHOICES = ["rescale", "gradients", "pool"]


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_a_number_is_a_finite_number(cls, name):
    for value in ODD:
        part = getattr(family, cls)(**{name: value})
        with pytest.raises(ValueError, match=f"'{name}' parameter of {cls} must"):
            part.check_options()


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_a_string(name):
    for value in ODD:
        part = family.GCS(**{name: value})
        with pytest.raises(ValueError, match=f"{name} must be one of"):
            part.check_options()


@pytest.mark.parametrize(
    "part",
    [
        CAGrad(c=0.0),
        CAGrad(shrink=0),
        NashMTL(max_norm=None),
        NashMTL(max_norm=0.5),
        FAMO(min_losses=[0.0, 0.1]),
        GradDrop(leak=np.zeros(2)),
        Fixed([1.0, 2.0]),
        Fixed({"a": 1.0}),
        Curvature(clip=None),
        Curvature(clip=(1, 1)),
        BLO(weight_init=[0.5, 0.5]),
    ],
    ids=repr,
)
def test_the_ends_of_the_ranges_are_allowed(part):
    part.check_options()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (FAMO(min_losses="a"), "min_losses"),
        (FAMO(min_losses=[np.nan]), "min_losses"),
        (GradDrop(leak=None), "leak"),
        (GradDrop(leak=[[0.0]]), "leak"),
        (Fixed("a"), "weights"),
        (Fixed({1.0}), "weights"),
        (Curvature(clip=(1,)), "clip"),
        (Curvature(clip=(2, 3)), "clip"),
        (Curvature(clip=0.5), "clip"),
        (BLO(weight_init="a"), "weight_init"),
    ],
    ids=repr,
)
def test_numbers_per_task_are_numbers(part, name):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        part.check_options()


@pytest.mark.parametrize(
    "part",
    [FAMO(min_losses=[0.0, 0.0]), GradDrop(leak=()), PBI(ideal=[0.0] * 4)],
    ids=repr,
)
def test_numbers_per_task_are_as_many_as_the_tasks(part):
    with pytest.raises(ValueError, match=r"3 tasks .* has \d numbers"):
        part.build(3)
