"""The tables of ``docs/benchmarks/confidence.rst`` from the rows of the runs."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
from prediction_tables import grid, heading

SPLITS = ("random", "scaffold")
COVERAGES = (0.5, 0.8, 0.9, 0.95)
# Modes of chemprop_confidence_peer.py.
PEERS = {"chemprop ensemble": "ensemble", "chemprop MVE": "mve"}
MODELS = ("constant", "laplace", "novelty", "variance", "ensemble", "hybrid", *PEERS)
SCORES = {
    "coverage_50": "Coverage of 50 % intervals, %",
    "coverage_80": "Coverage of 80 % intervals, %",
    "coverage_90": "Coverage of 90 % intervals, %",
    "coverage_95": "Coverage of 95 % intervals, %",
    "width_90": "Width of 90 % intervals, in standard deviations of the labels",
    "nll": "Negative log-likelihood of labels in units of their standard deviation",
    "calibration_error": "Expected normalised calibration error",
    "spearman": "Spearman's correlation of width and absolute error",
    "rmse": "RMSE, in standard deviations of the labels",
    "rmse_nearest": "The same of the third of the rows nearest to the training rows",
    "rmse_farthest": "The same of the third farthest away",
    "fit_seconds": "CPU seconds to fit, one thread, on a busy machine",
}


def report(rows: pd.DataFrame) -> str:
    """Make the part of the page that comes from the rows of the file."""
    rows = rows.assign(
        model=rows["model"]
        + rows["conformal"].map({"yes": ", conformal", "no": ""}).fillna("")
    )
    text = []
    for split in SPLITS:
        part = rows[rows.split == split]
        if part.empty:
            continue
        text.append(heading(f"{split.capitalize()} folds"))
        for column, title in SCORES.items():
            known = part.dropna(subset=column)
            if not known.empty:
                text += [f"{title}:", "", grid(table(known, column), "model")]
        text += [
            "Share of tasks (over sets and seeds) whose 90 % intervals cover 88-92 % "
            "of the test\nlabels, and the mean coverage:",
            "",
            grid(tasks_within(part), "model"),
        ]
    return "\n".join(text)


def table(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Write mean, deviation and number of seeds of a score, as models x sets."""
    percent = column.startswith("coverage")
    write = spread_writer(100 if percent else 1, 1 if percent else 2)
    cells = rows.groupby(["model", "set"])[column].agg(write).unstack("set")
    order = [m for name in MODELS for m in (name, f"{name}, conformal")]
    sets = list(rows["set"].unique())
    return cells.reindex([m for m in order if m in cells.index])[sets].fillna("")


def spread_writer(factor: float, digits: int) -> Callable[[pd.Series], str]:
    """Make the function that writes some numbers."""

    def write(values: pd.Series) -> str:
        values = factor * values.dropna()
        if values.empty:
            return ""
        spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
        return f"{values.mean():.{digits}f}{spread} ({len(values)})"

    return write


def tasks_within(rows: pd.DataFrame) -> pd.DataFrame:
    """Count tasks by the mean, over seeds, of their coverage."""
    out = {}
    for model, part in rows.dropna(subset="tasks_90").groupby("model", sort=False):
        means = []
        for _, runs in part.groupby("set"):
            covered = np.array([json.loads(text) for text in runs["tasks_90"]], float)
            means += np.nanmean(covered, axis=0).tolist()
        inside = np.mean([0.88 <= mean <= 0.92 for mean in means])
        out[model] = [f"{100 * inside:.0f} % of {len(means)}", f"{np.mean(means):.3f}"]
    return pd.DataFrame(out, index=["88-92 %", "mean"]).T
