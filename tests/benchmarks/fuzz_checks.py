"""What must hold for wrong input: one class per kind of input.

``check(first, n)`` makes the inputs ``first`` to ``first + n - 1``, tries them in this
process, and counts what went wrong. The same numbers give the same inputs again.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from mutations import mutate_cif, mutate_smiles, odd_value, table
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge

from skgnn_mtl import (
    CifToGraph,
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.encoders import CGCNN, DMPNN, GAT, GCN, GIN, GraphSAGE
from skgnn_mtl.ensemble import (
    BlendRegressor,
    CalibratedClassifier,
    ConformalRegressor,
    EnsembleRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)
from skgnn_mtl.featurizers import CifToDescriptors, SmilesToDescriptors
from skgnn_mtl.readouts import Attention, Mean
from skgnn_mtl.weighting import (
    DWA,
    FAMO,
    MGDA,
    STCH,
    CAGrad,
    Curvature,
    GradDrop,
    NashMTL,
    PCGrad,
    Uncertainty,
)

COUNTS = ("inputs", "refused", "shifted", "unnamed")
# Known rows stand among the others, one after so many.
_EVERY = 4
# One of so many unreadable rows is raised for; of the others the message is asked for,
# which takes a tenth of the time.
_RAISED = 20
# Inputs that have the same parameters.
_GROUP = 500


class Found:
    """What was counted, and the inputs that something is wrong with."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.slowest = 0.0
        self.examples: list[dict[str, Any]] = []

    def add(self, kind: str, number: int, what: Any, message: str = "") -> None:
        """Count one input as shifted or unnamed, and keep it."""
        self.counts[kind] += 1
        note = {"fault": kind, "number": number, "message": message[:500]}
        self.examples.append({**note, "input": ascii(what)[:2000]})

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Note the time for one input."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.slowest = max(self.slowest, time.perf_counter() - start)


@contextmanager
def silence() -> Iterator[None]:
    """Leave out warnings, which are not looked at here."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


# -- rows -----------------------------------------------------------------------------


class Rows:
    """Mutated strings among known ones, through a featurizer.

    Parameters
    ----------
    transformers : sequence of GraphTransformer
        With ``on_error="nan"``; they take turns.
    mutate : callable
        Makes a row, from a generator and the corpus.
    corpus : sequence of str
        Readable rows.
    seed : int, default=0
        Of all rows.
    """

    def __init__(
        self,
        transformers: Sequence[Any],
        mutate: Callable[[np.random.Generator, Sequence[str]], str],
        corpus: Sequence[str],
        seed: int = 0,
    ) -> None:
        self.transformers, self.mutate = transformers, mutate
        self.corpus, self.seed = corpus, seed
        rng = np.random.default_rng(seed)
        self.known = [corpus[k] for k in rng.integers(len(corpus), size=32)]
        with silence():
            self.expected = [t.transform(self.known) for t in transformers]

    def check(self, first: int, n: int) -> Found:
        """Try some rows, group by group."""
        found = Found()
        end = first + n
        while first < end:
            group = first // _GROUP
            last = min(end, (group + 1) * _GROUP)
            with silence():
                self._check_group(found, group, range(first, last))
            first = last
        return found

    def row(self, number: int) -> str:
        """Make one row."""
        return self.mutate(np.random.default_rng([self.seed, number]), self.corpus)

    def _check_group(self, found: Found, group: int, numbers: range) -> None:
        which = group % len(self.transformers)
        transformer, expected = self.transformers[which], self.expected[which]
        rows, at, known = [], [], []
        for number in numbers:
            if number % _EVERY == 0:
                known.append((len(rows), number // _EVERY % len(self.known)))
                rows.append(self.known[known[-1][1]])
            at.append(len(rows))
            rows.append(self.row(number))
        found.counts["inputs"] += len(numbers)
        try:
            graphs = transformer.transform(rows)
        except Exception as error:
            self._blame(found, transformer, numbers, error)
            return
        for position, k in known:
            if graphs[position : position + 1] != expected[k : k + 1]:
                found.add("shifted", numbers[0], rows[position])
        self._check_rows(found, transformer, numbers, graphs[at], [rows[k] for k in at])

    def _check_rows(
        self, found: Found, transformer: Any, numbers: range, graphs: Any, rows: Any
    ) -> None:
        """Look at the mutated rows one by one."""
        strict = clone(transformer).set_params(on_error="raise")
        alone = len(rows) // 2
        for k, (number, row) in enumerate(zip(numbers, rows, strict=True)):
            if not graphs.valid[k]:
                found.counts["refused"] += 1
                self._check_message(found, strict, number, row)
            elif k == alone and transformer.transform([row]) != graphs[k : k + 1]:
                found.add("shifted", number, row)

    def _check_message(self, found: Found, strict: Any, number: int, row: str) -> None:
        """A row that cannot be read is named, and is no other error."""
        with found.clock():
            try:
                message = strict.complaint(1, row if row.strip() else None)
                if number % _RAISED == 0:
                    strict.transform([self.known[0], row])
                    message = "it is read"
            except ValueError as error:
                message = str(error)
            except Exception as error:
                message = repr(error)
        if not re.match(r"(Could not read X\[1\] = .*: .|X\[1\] is missing)", message):
            found.add("unnamed", number, row, message)

    def _blame(
        self, found: Found, transformer: Any, numbers: range, error: Exception
    ) -> None:
        """Find the rows that raise although they may stay as invalid graphs."""
        for number in numbers:
            try:
                transformer.transform([self.row(number)])
            except Exception as raised:
                found.add("unnamed", number, self.row(number), repr(raised))
                return
        found.add("unnamed", numbers[0], "a group", repr(error))


def smiles(corpus: Sequence[str], seed: int = 0) -> Rows:
    """Check mutated SMILES."""
    plain = SmilesToGraph(on_error="nan")
    cip = SmilesToGraph("chemprop", stereo="cip", on_error="nan")
    cheap = ["TPSA", "RingCount", "MolLogP", "BalabanJ", "Chi4v"]
    described = SmilesToGraph(descriptors=cheap, on_error="nan")
    return Rows([*[plain] * 6, cip, described], mutate_smiles, corpus, seed)


def cifs(corpus: Sequence[str], seed: int = 0) -> Rows:
    """Check mutated CIFs."""
    settings: list[dict[str, Any]] = [
        {},
        {"disorder": "majority", "symmetrize": True},
        {"disorder": "mix", "max_neighbors": None, "cutoff": 4.0},
        {"ties": "cut", "descriptors": "composition", "disorder": "majority"},
    ]
    transformers = [CifToGraph(on_error="nan", **setting) for setting in settings]
    return Rows(transformers, mutate_cif, corpus, seed)


# -- fits -----------------------------------------------------------------------------

_SETTINGS: dict[str, Any] = {
    "max_epochs": 1,
    "batch_size": 8,
    "device": "cpu",
    "n_threads": 1,
    "random_state": 0,
}
_INPUTS = re.compile(
    r"\b(X|y|sample_weight|weights?|labels?|tasks?|targets?|class(es)?|rows?|columns?)\b"
)


def _network(cls: type, encoder: Any = None, **settings: Any) -> Any:
    return cls(encoder or GIN(8, n_layers=1), **{**_SETTINGS, **settings})


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Do something; a refusal is one of some kinds of errors."""
    with silence():
        try:
            return work(), None
        except (ValueError, TypeError, FloatingPointError, ImportError) as error:
            return None, error
        except OSError as error:
            # A path is a parameter like others, and the message names it.
            return None, ValueError(f"checkpoint or element_table: {error.filename}")
        except Exception as error:
            # Not a refusal, whatever it says.
            return None, RuntimeError(f"not a refusal: {error!r}")


class Tables:
    """Spoiled X, y and weights, through the estimators.

    Parameters
    ----------
    corpus : sequence of str
        SMILES.
    seed : int, default=0
        Of all inputs.
    """

    N_ROWS = 16

    def __init__(self, corpus: Sequence[str], seed: int = 0) -> None:
        self.seed = seed
        rows = [*corpus[: 2 * self.N_ROWS], "C(", ""]
        with silence():
            self.graphs = SmilesToGraph(on_error="nan").transform(rows)
        ridge = PerTaskRegressor(Ridge())
        self.estimators = [
            _network(MultiTaskGNNRegressor),
            _network(MultiTaskGNNRegressor, loss="gaussian_nll", early_stopping=True),
            _network(MultiTaskGNNRegressor, task_weighting="pcgrad", censored="bound"),
            _network(MultiTaskGNNClassifier),
            _network(GATERegressor, latent_dim=4, encoder_hidden_dims=(8,)),
            ridge,
            EnsembleRegressor(ridge, n_members=2, random_state=0),
        ]

    def input(self, number: int) -> tuple[Any, Any, Any, Any]:
        """Make an estimator, X, y and weights."""
        rng = np.random.default_rng([self.seed, number])
        model = self.estimators[int(rng.integers(len(self.estimators)))]
        if "Ridge" in repr(model):
            # Only the network's own reading of X is looked at.
            X = rng.normal(size=(self.N_ROWS, 3))
        elif rng.random() < 0.3:
            X = table(rng, self.N_ROWS, 3)
        else:
            X = self.graphs[rng.integers(len(self.graphs), size=self.N_ROWS)]
        classes = "Classifier" in type(model).__name__
        y = table(rng, self.N_ROWS, int(rng.integers(1, 4)), classes=classes)
        weights = None
        if rng.random() < 0.3:
            weights = table(rng, self.N_ROWS, 1, classes=rng.random() < 0.5)
        return clone(model), X, y, weights

    def check(self, first: int, n: int) -> Found:
        """Try some inputs."""
        found = Found()
        for number in range(first, first + n):
            model, X, y, weights = self.input(number)
            found.counts["inputs"] += 1
            with found.clock():
                _, error = _outcome(lambda a=(model, X, y, weights): _fit(*a))
            what = (type(model).__name__, X, y, weights)
            if error is not None:
                found.counts["refused"] += 1
                if type(error) is RuntimeError or not _INPUTS.search(str(error)):
                    found.add("unnamed", number, what, f"{error!r}")
                continue
            _, error = _outcome(lambda a=(model, X): _check_order(*a))
            if error is not None:
                found.add("shifted", number, what, repr(error))
        return found


def _fit(model: Any, X: Any, y: Any, weights: Any) -> Any:
    return model.fit(X, y) if weights is None else model.fit(X, y, weights)


def _check_order(model: Any, X: Any) -> None:
    """Predictions follow their rows, and are finite where a row is valid."""
    if not hasattr(X, "valid") and not isinstance(X, np.ndarray):
        return
    predicted = np.asarray(model.predict(X))
    order = np.random.default_rng(0).permutation(len(X))
    again = np.asarray(model.predict(X[order]))
    # Classes may be text, or text beside numbers.
    if predicted.dtype.kind in "OU":
        np.testing.assert_array_equal(again.astype(str), predicted[order].astype(str))
        return
    again, predicted = again.astype(float), predicted.astype(float)
    np.testing.assert_allclose(again, predicted[order], rtol=1e-4, atol=1e-4)


class Parameters:
    """Estimators, parts and featurizers with one wrong value.

    Parameters
    ----------
    corpus, crystals : sequence of str
        SMILES and CIFs.
    seed : int, default=0
        Of all inputs.
    """

    # Free text, numbers of processes, and what is called and may do anything.
    LEFT_OUT = ("n_jobs", "callbacks", "verbose")

    def __init__(
        self, corpus: Sequence[str], crystals: Sequence[str], seed: int = 0
    ) -> None:
        self.seed = seed
        self.rows = {"smiles": list(corpus[:16]), "cif": list(crystals[:4])}
        graphs = SmilesToGraph().transform(self.rows["smiles"])
        y = np.random.default_rng(0).normal(size=(16, 2))
        y[::3, 0] = np.nan
        halves = np.where(np.isnan(y), np.nan, y > 0)
        regressor, table = PerTaskRegressor(Ridge()), np.nan_to_num(y)
        codes = np.arange(16) % 2
        cells = CifToGraph(on_error="nan").transform(self.rows["cif"])
        numbers = np.arange(len(cells), dtype=float)
        network = _network(MultiTaskGNNRegressor)
        self.cases: list[tuple[Any, tuple[Any, ...]]] = [
            *((_network(MultiTaskGNNRegressor, e), (graphs, y)) for e in _encoders()),
            *(
                (_network(MultiTaskGNNRegressor, task_weighting=w), (graphs, y))
                for w in _weightings()
            ),
            (_network(MultiTaskGNNRegressor, readout=Attention()), (graphs, y)),
            (_network(MultiTaskGNNRegressor, readout=Mean()), (graphs, y)),
            (_network(MultiTaskGNNRegressor, CGCNN(8, n_layers=1)), (cells, numbers)),
            (_network(MultiTaskGNNClassifier), (graphs, halves)),
            (_network(GATERegressor, latent_dim=4), (graphs, y)),
            (_network(GNNPretrainer), (graphs,)),
            (regressor, (table, y)),
            (EnsembleRegressor(network, n_members=2, random_state=0), (graphs, y)),
            (BlendRegressor([("a", regressor), ("b", regressor)], cv=2), (table, y)),
            (ConformalRegressor(regressor, coverage=0.5), (table, table)),
            (
                CalibratedClassifier(PerTaskClassifier(LogisticRegression()), cv=2),
                (table, codes),
            ),
            (SmilesToGraph(), (self.rows["smiles"],)),
            (SmilesToGraph(descriptors=["TPSA"]), (self.rows["smiles"],)),
            (SmilesToDescriptors(["TPSA"], 8), (self.rows["smiles"],)),
            (CifToGraph(disorder="majority"), (self.rows["cif"],)),
            (CifToDescriptors(), (self.rows["cif"],)),
        ]

    def input(self, number: int) -> tuple[Any, tuple[Any, ...], str, Any]:
        """Make an estimator, its data, the name of a parameter, and a value."""
        rng = np.random.default_rng([self.seed, number])
        model, data = self.cases[int(rng.integers(len(self.cases)))]
        names = [
            name
            for name in model.get_params(deep=True)
            if name.split("__")[-1] not in self.LEFT_OUT
            # Members check theirs themselves, each in its way.
            and "estimator__" not in name
        ]
        name = names[int(rng.integers(len(names)))]
        return clone(model), data, name, odd_value(rng)

    def check(self, first: int, n: int) -> Found:
        """Try some values."""
        found = Found()
        for number in range(first, first + n):
            model, data, name, value = self.input(number)
            found.counts["inputs"] += 1
            with found.clock():
                _, error = _outcome(
                    lambda a=(model, data, {name: value}): _try_parameter(*a)
                )
            if error is None:
                continue
            found.counts["refused"] += 1
            last = name.split("__")[-1]
            message = " ".join([str(error), *getattr(error, "__notes__", ())])
            if type(error) is RuntimeError or last not in message:
                what = (type(model).__name__, name, value)
                found.add("unnamed", number, what, f"{error!r}")
        return found


def _try_parameter(model: Any, data: Any, change: dict[str, Any]) -> None:
    model.set_params(**change).fit(*data)
    if hasattr(model, "transform"):
        model.transform(data[0])
    else:
        model.predict(data[0])


def _encoders() -> list[Any]:
    kinds = (GIN, GCN, GAT, DMPNN, GraphSAGE)
    return [kind(8, n_layers=1) for kind in kinds]


def _weightings() -> list[Any]:
    return [
        *(Uncertainty(), DWA(), STCH(), FAMO(), PCGrad(), CAGrad(), MGDA()),
        *(NashMTL(), GradDrop(), Curvature(update_every=1)),
    ]
