"""The command line: a thin layer over read_table, cross_validate, save and load."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

from skgnn_mtl._saving import load, save
from skgnn_mtl.datasets import read_table
from skgnn_mtl.datasets._own import read_smiles_column
from skgnn_mtl.estimators import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.featurizers import SmilesToGraph

_METRICS = {False: ("mae", "r2"), True: ("roc_auc",)}
_EPILOG = """\
examples:
  python -m skgnn_mtl check table.csv
  python -m skgnn_mtl fit table.csv --out model.skgnn --units IC50=nM --log10 IC50
  python -m skgnn_mtl fit table.csv --out model.skgnn --model hybrid --salts largest
  python -m skgnn_mtl predict model.skgnn new.csv --out predictions.csv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words behind the name of the program; by default those of the process.

    Returns
    -------
    code : int
        0, or 2 after an error, whose message goes to the standard error.
    """
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        # No line of code is the user's here.
        warnings.showwarning = _print_warning
        try:
            options.run(options)
        except (ValueError, TypeError, OSError, ImportError) as error:
            # Without the traceback, because the message says what to do.
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


def _print_warning(message: Warning | str, *where: Any, **how: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


# -- commands --------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> None:
    X, y, report = _read(options, censored="bound", unreadable="keep")
    print(f"{len(X)} molecules; targets: {', '.join(y.columns)}")
    _show(report, options.report)


def _fit(options: argparse.Namespace) -> None:
    _require_place(options)
    X, y, report = _read(options, censored="bound", unreadable="drop")
    _show(report, options.report)
    classes = _are_classes(y)
    y, censored = _without_bounds(y, options, classes)
    model = _model(options, y, censored, classes)
    kind = "classes" if classes else "numbers"
    print(f"fit: {len(X)} molecules, targets of {kind}: {', '.join(y.columns)}")
    scores = ""
    if options.cv:
        scores = _scores(model, X, y, options, classes)
        print(scores)
    model.fit(X, y)
    about = [options.description, f"Fitted to {len(X)} rows of {options.table}."]
    about += [f"```text\n{scores}\n```"] if scores else []
    save(model, options.out, description="\n\n".join(filter(None, about)))
    print(f"saved: {options.out}")


def _predict(options: argparse.Namespace) -> None:
    model = load(options.model)
    smiles = read_smiles_column(
        options.table,
        smiles=options.smiles,
        salts=options.salts,
        separator=options.separator,
        encoding=options.encoding,
    )
    names = _task_names(model)
    if hasattr(model, "predict_proba"):
        table = _probabilities(model, smiles, names)
    else:
        columns = np.asarray(model.predict(smiles)).reshape(len(smiles), -1)
        table = pd.DataFrame(columns, columns=names)
    n_missing = int(table.isna().all(axis=1).sum())
    table.insert(0, str(smiles.name), smiles.to_numpy())
    table.to_csv(options.out, index=False)
    print(f"saved: {options.out}, {len(table)} rows, {n_missing} without a prediction")


# -- parts -----------------------------------------------------------------------------


def _read(
    options: argparse.Namespace, *, censored: str, unreadable: str
) -> tuple[pd.Series, pd.DataFrame, pd.DataFrame]:
    return read_table(
        options.table,
        smiles=options.smiles,
        targets=options.targets,
        units=_pairs(options.units),
        duplicates=options.duplicates,
        salts=options.salts,
        unreadable=unreadable,
        censored=censored,
        decimal=options.decimal,
        separator=options.separator,
        encoding=options.encoding,
        n_jobs=options.n_jobs,
    )


def _require_place(options: argparse.Namespace) -> None:
    """Find out before the fit that its model could not be saved."""
    folder = Path(options.out).resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"--out is in {folder}, which is not a folder.")
    if options.model == "hybrid" and find_spec("skops") is None:
        raise ImportError("--model hybrid is saved by skops: pip install skops.")


def _pairs(words: Sequence[str]) -> dict[str, str]:
    bad = [word for word in words if "=" not in word]
    if bad:
        raise ValueError(f"--units takes COLUMN=UNIT, such as IC50=nM, not {bad[0]!r}.")
    return dict(word.rsplit("=", 1) for word in words)


def _show(report: pd.DataFrame, path: str | None) -> None:
    """Print the number of findings of each kind, with the first of them."""
    print(f"{len(report)} findings; rows count from 0 below the header")
    for (what, column), part in report.groupby(["what", "column"], sort=False):
        where = f" in {column!r}" if column else ""
        row = part["row"].iloc[0]
        first = "" if pd.isna(row) else f" row {row}:"
        value = " ".join(str(part["value"].iloc[0]).split())
        print(f"  {len(part):>7} x {what}{where};{first} {value}"[:160].rstrip(" :;"))
    if path is not None:
        report.to_csv(path, index=False)
        print(f"saved: {path}")


def _are_classes(y: pd.DataFrame) -> bool:
    kinds = {name: _is_of_classes(y[name]) for name in y.columns}
    if len(set(kinds.values())) > 1:
        classes = [name for name, is_class in kinds.items() if is_class]
        raise ValueError(
            f"Targets {classes} have classes, the others are numbers. Fit them one "
            "after the other: name those of one kind by --targets."
        )
    return all(kinds.values())


def _is_of_classes(column: pd.Series) -> bool:
    labels = set(column.dropna())
    return labels <= {0, 1} or (
        not _bounds(column.to_frame()).to_numpy().any()
        and any(isinstance(label, str) for label in labels)
    )


def _bounds(y: pd.DataFrame) -> pd.DataFrame:
    """Tell where labels are bounds."""
    return y.map(lambda label: isinstance(label, str) and label[:1] in ("<", ">"))


def _without_bounds(
    y: pd.DataFrame, options: argparse.Namespace, classes: bool
) -> tuple[pd.DataFrame, str]:
    """Leave out bounds of classes, or on request."""
    bounds = _bounds(y)
    n_bounds = 0 if classes else int(bounds.to_numpy().sum())
    if not n_bounds:
        return y, "raise"
    if options.censored == "bound":
        return y, "bound"
    print(f"{n_bounds} labels that are bounds, such as '>100', are left out")
    return y.mask(bounds).astype(np.float64), "raise"


def _model(
    options: argparse.Namespace, y: pd.DataFrame, censored: str, classes: bool
) -> Any:
    labels: dict[str, Any] = {}
    if not classes:
        logs = dict.fromkeys(_logarithmic(options.log10, y), "log10") or None
        labels = {"target_transform": logs, "censored": censored}
    if options.model == "hybrid":
        if options.epochs:
            raise ValueError("--epochs is an option of --model network.")
        # Here, because the room of ensembles takes long to import.
        from skgnn_mtl.ensemble import HybridClassifier, HybridRegressor

        hybrid = HybridClassifier if classes else HybridRegressor
        return hybrid(random_state=options.seed, n_jobs=options.n_jobs, **labels)
    training: dict[str, Any] = {"random_state": options.seed, "device": options.device}
    if options.epochs:
        training["max_epochs"] = options.epochs
    kind = MultiTaskGNNClassifier if classes else MultiTaskGNNRegressor
    network: Any = kind(**labels, **training)
    # NaN, because a row of the folder to come must not end a prediction.
    return make_pipeline(SmilesToGraph(on_error="nan"), network)


def _logarithmic(columns: Sequence[str], y: pd.DataFrame) -> list[str]:
    from skgnn_mtl.datasets._own._columns import find_column

    return [find_column(name, list(y.columns), "--log10") for name in columns]


def _scores(
    model: Any,
    X: pd.Series,
    y: pd.DataFrame,
    options: argparse.Namespace,
    classes: bool,
) -> str:
    """Cross-validate, and write a table of mean and spread of each task."""
    from skgnn_mtl.metrics import per_task_scorers
    from skgnn_mtl.model_selection import ScaffoldKFold, molecule_groups

    metrics = _METRICS[classes]
    scoring = {k: v for m in metrics for k, v in per_task_scorers(y.columns, m).items()}
    if options.split == "scaffold":
        groups, cv = None, ScaffoldKFold(options.cv)
    else:
        groups = molecule_groups(X)
        cv = GroupKFold(options.cv, shuffle=True, random_state=options.seed)
    found = cross_validate(
        model, X, y, groups=groups, cv=cv, scoring=scoring, error_score="raise"
    )
    rows = {
        name: [_mean_and_spread(found[f"test_{m}_{name}"], m) for m in metrics]
        for name in y.columns
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(metrics))
    title = f"scores of {options.cv} folds by {options.split} split, mean ± spread:"
    return f"{title}\n{table.to_string()}"


def _mean_and_spread(scores: np.ndarray, metric: str) -> str:
    # Errors are negated in scikit-learn.
    scores = -scores if metric == "mae" else scores
    return f"{np.nanmean(scores):.3g} ± {np.nanstd(scores):.2g}"


def _task_names(model: Any) -> list[str]:
    last = model[-1] if hasattr(model, "steps") else model
    return [str(name) for name in last.task_names_]


def _probabilities(model: Any, smiles: pd.Series, names: list[str]) -> pd.DataFrame:
    """Probability of the second class of each task, or of each of more than two."""
    tasks, classes = model.predict_proba(smiles), model.classes_
    if not isinstance(tasks, list):
        tasks, classes = [tasks], [classes]
    columns = {}
    for name, table, labels in zip(names, tasks, classes, strict=True):
        if len(labels) <= 2:
            columns[name] = table[:, -1]
        else:
            titles = [f"{name} = {label}" for label in labels.tolist()]
            columns |= dict(zip(titles, table.T, strict=True))
    return pd.DataFrame(columns)


# -- the parser ------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m skgnn_mtl",
        description="Multi-task models of molecules from a table of SMILES and labels.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="say what is odd in a table")
    _add_table(check)
    _add_repairs(check)
    check.set_defaults(run=_check)
    fit = commands.add_parser(
        "fit",
        help="cross-validate a model, fit it to all rows and save it",
    )
    _add_table(fit)
    _add_repairs(fit)
    _add_model(fit)
    fit.set_defaults(run=_fit)
    predict = commands.add_parser("predict", help="predict the molecules of a table")
    predict.add_argument("model", help="file that fit has saved")
    _add_table(predict)
    predict.add_argument("--out", required=True, help="CSV file of the predictions")
    predict.set_defaults(run=_predict)
    return parser


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="CSV (also .gz) or parquet file")
    parser.add_argument("--smiles", help="column of the SMILES; by default it is found")
    parser.add_argument("--separator", help="of a CSV; by default it is found")
    parser.add_argument("--encoding", help="of a CSV; by default it is found")
    parser.add_argument(
        "--salts",
        choices=["keep", "largest"],
        default="keep",
        help="whether salts become their largest component (%(default)s)",
    )


def _add_repairs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--targets", nargs="+", help="columns of labels; by default those of numbers")
    add(
        "--units",
        nargs="+",
        default=[],
        metavar="COLUMN=UNIT",
        help="wanted units; headers and cells in others are converted",
    )
    add(
        "--decimal", choices=[".", ","], help="mark of decimals; by default it is found"
    )
    add(
        "--duplicates",
        choices=["keep", "mean", "median"],
        default="keep",
        help="what rows of one molecule become (%(default)s)",
    )
    add("--report", help="CSV file of all findings in the table")
    add("--n-jobs", type=int, help="number of processes")


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", required=True, help="file of the model")
    add(
        "--model",
        choices=["network", "hybrid"],
        default="network",
        help="a multi-task D-MPNN, or with it trees on descriptors, which is slower "
        "and mostly better (%(default)s)",
    )
    add(
        "--censored",
        choices=["bound", "drop"],
        default="bound",
        help="whether labels such as '>100' are learned: by networks as bounds, by "
        "trees as their numbers (%(default)s)",
    )
    add(
        "--log10",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="targets whose logarithm is learned",
    )
    add(
        "--cv",
        type=int,
        default=3,
        help="folds of the scores, 0 for none (%(default)s)",
    )
    add(
        "--split",
        choices=["molecule", "scaffold"],
        default="molecule",
        help="what is kept in one fold (%(default)s)",
    )
    add("--epochs", type=int, help="of the network; by default from the number of rows")
    add("--seed", type=int, default=0, help="of all that is random (%(default)s)")
    add(
        "--device",
        default="auto",
        help="of the network, such as cpu or cuda (%(default)s)",
    )
    add("--description", default="", help="what the model is for")
