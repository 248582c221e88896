"""scikit-learn's own checks on the meta-estimators."""

import pytest
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgnn_mtl.ensemble import (
    BlendClassifier,
    BlendRegressor,
    CalibratedClassifier,
    ConformalClassifier,
    ConformalRegressor,
    EnsembleClassifier,
    EnsembleRegressor,
    GroupedClassifier,
    GroupedRegressor,
    HybridClassifier,
    HybridRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)

# Two of the checks leave a single class to train on.
pytestmark = pytest.mark.filterwarnings("ignore:.*labels of one class only:UserWarning")


@parametrize_with_checks(
    [
        PerTaskRegressor(Ridge()),
        PerTaskClassifier(LogisticRegression()),
        PerTaskClassifier(DecisionTreeClassifier(random_state=0)),
    ]
)
def test_per_task(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        GroupedRegressor(PerTaskRegressor(Ridge()), None),
        GroupedClassifier(PerTaskClassifier(LogisticRegression()), None),
    ]
)
def test_grouped(estimator, check):
    check(estimator)


# A draw of whole rows cannot equal weights of them.
DRAWS = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "rows of integer weight are drawn as one row, repeated rows as several",
)


IDENTITY = FunctionTransformer(validate=True, accept_sparse=True)


def expected(estimator):
    plain = getattr(estimator, "resample", "seeds") == "seeds"
    learned = isinstance(getattr(estimator, "weights", None), str)
    return {} if plain and not learned else DRAWS


@parametrize_with_checks(
    [
        EnsembleRegressor(Ridge(), 2, random_state=0),
        EnsembleRegressor(Ridge(), 3, resample="folds", random_state=0),
        # A seed, because a sample may lack the one row that a check has spoiled.
        EnsembleRegressor(
            PerTaskRegressor(Ridge()), 3, resample="bootstrap", random_state=0
        ),
        EnsembleClassifier(PerTaskClassifier(LogisticRegression()), 2, random_state=0),
        EnsembleClassifier(
            DecisionTreeClassifier(max_depth=4),
            3,
            resample="bootstrap",
            random_state=0,
        ),
    ],
    expected_failed_checks=expected,
)
def test_ensemble(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        BlendRegressor([("a", Ridge()), ("b", Ridge(10.0))]),
        BlendRegressor(
            [("a", PerTaskRegressor(Ridge())), ("b", PerTaskRegressor(Ridge(10.0)))],
            weights="oof",
            cv=3,
        ),
        BlendClassifier(
            [
                ("a", PerTaskClassifier(LogisticRegression())),
                ("b", DecisionTreeClassifier(max_depth=4, random_state=0)),
            ]
        ),
    ],
    expected_failed_checks=expected,
)
def test_blend(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        HybridRegressor(PerTaskRegressor(Ridge()), Ridge(10.0), descriptors=IDENTITY),
        HybridClassifier(
            PerTaskClassifier(LogisticRegression()),
            DecisionTreeClassifier(max_depth=4, random_state=0),
            descriptors=IDENTITY,
            random_state=0,
        ),
    ],
)
def test_hybrid(estimator, check):
    check(estimator)


# A member's own fault: it cannot square an array of objects.
WIDTHS = {"check_dtype_object": "BayesianRidge refuses return_std of objects"}


# Its rows are repeated, and then in other folds.
@pytest.mark.filterwarnings("ignore:.*equal a training row:UserWarning")
# A check leaves one class to train on.
@pytest.mark.filterwarnings("ignore:.*have fewer labels than the:UserWarning")
@parametrize_with_checks(
    [
        # A low coverage, because some checks have ten rows.
        ConformalRegressor(Ridge(), cv=2, coverage=0.5, random_state=0),
        ConformalRegressor(
            PerTaskRegressor(BayesianRidge()),
            method="cross",
            normalise="std",
            cv=2,
            coverage=0.5,
            random_state=0,
        ),
        ConformalClassifier(
            PerTaskClassifier(LogisticRegression()),
            method="cross",
            cv=2,
            coverage=0.5,
            random_state=0,
        ),
        CalibratedClassifier(
            PerTaskClassifier(LogisticRegression()), cv=2, random_state=0
        ),
        CalibratedClassifier(
            DecisionTreeClassifier(max_depth=4, random_state=0),
            method="isotonic",
            cv=2,
            random_state=0,
        ),
    ],
    expected_failed_checks=lambda estimator: (
        WIDTHS if getattr(estimator, "normalise", None) else {}
    ),
)
def test_calibration(estimator, check):
    check(estimator)
