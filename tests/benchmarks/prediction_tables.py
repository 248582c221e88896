"""The tables of ``docs/benchmarks/prediction.rst`` from the rows of the runs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd

from skgnn_mtl.model_selection import ModelComparison

AUC = "1 - ROC-AUC"
SPLITS = ("random", "scaffold")
PEERS = {"chemprop": 1, "chemprop5": 5}
SHIPPED = ("pretrained", "pretrained hybrid")
MODELS = [
    *("forest", "trees", "boosting", "network", "blend", "hybrid", "chemprop"),
    *("pretrained", "pretrained hybrid", "ensemble", "chemprop5", "default"),
]
INTRODUCTIONS = {
    "errors": "Errors, mean ± standard deviation (number of seeds):",
    "hybrid": "Error of the hybrid divided by that of another model, on common seeds; "
    "\\* where the\ncorrected resampled t-test, adjusted by Holm's procedure over "
    "this table, has p < 0.05:",
    "ratios": "Geometric means over sets (number of sets) of the error divided by that "
    "of a peer, on\ncommon seeds. The better of trees and boosting is chosen for each "
    "set by its test errors,\nwhich favours this peer:",
    "fit_seconds": "CPU seconds to fit, one thread, from strings:",
    "predict_seconds_10000": "CPU seconds to predict 10,000 rows, from the time of the "
    "test rows:",
    "peak_mb": "Peak of resident memory of the process in MB, imports included:",
}
TABLES = {"errors": "model", "hybrid": "set"}
WIDTH = 98


def report(scores: pd.DataFrame, expected: dict[str, list[str]]) -> str:
    """Make the part of the page that comes from the rows of the file.

    ``expected`` are the models of each set, in the order of the sets.
    """
    order = {name: k for k, name in enumerate(expected)}
    scores = scores.sort_values("set", key=lambda s: s.map(order), kind="stable")
    text = [heading("Sets"), grid(sizes(scores), "set")]
    for split in SPLITS:
        rows = scores[scores.split == split]
        if rows.empty:
            continue
        text.append(heading(f"{split.capitalize()} folds"))
        tables = {
            "errors": spread(rows),
            "hybrid": against_hybrid(rows),
            "ratios": geometric_means(rows),
            **{name: means(rows, name) for name in list(INTRODUCTIONS)[3:]},
        }
        for name, table in tables.items():
            if table.size:
                corner = TABLES.get(name, "model")
                text += [INTRODUCTIONS[name], "", grid(table, corner)]
    return "\n".join(
        [*text, heading("What is missing"), *missing(scores, expected), ""]
    )


def heading(title: str) -> str:
    """Underline a title."""
    return f"{title}\n{'-' * len(title)}\n"


def sizes(scores: pd.DataFrame) -> pd.DataFrame:
    """Count rows and tasks of each set."""
    first = scores.drop_duplicates("set").set_index("set").loc[measured(scores)]
    return pd.DataFrame(
        {
            "rows": first["n_train"] + first["n_test"],
            "tasks": first["tasks"].map(lambda text: len(json.loads(text))),
            "error": [
                unit if unit == AUC else f"RMSE in {unit}" for unit in first["unit"]
            ],
        }
    )


def wide(rows: pd.DataFrame, column: str = "error") -> pd.DataFrame:
    """Arrange runs as models x (set, seed)."""
    table = rows.pivot_table(index="model", columns=["set", "seed"], values=column)
    return table.reindex([m for m in MODELS if m in table.index])


def measured(rows: pd.DataFrame) -> list[str]:
    """Sets that occur, in their order."""
    return list(rows["set"].unique())


def spread(rows: pd.DataFrame) -> pd.DataFrame:
    """Write mean, deviation and number of seeds."""
    table = wide(rows)
    out = {}
    for name in measured(rows):
        parts = table[name].agg(["mean", "std", "count"], axis=1)
        out[name] = [
            "" if count == 0 else f"{mean:.3f}{deviation(std)} ({count:.0f})"
            for mean, std, count in parts.to_numpy()
        ]
    return pd.DataFrame(out, index=table.index)


def deviation(std: float) -> str:
    """Write a standard deviation, if there is one."""
    return "" if np.isnan(std) else f" ± {std:.3f}"


def comparison(rows: pd.DataFrame) -> ModelComparison:
    """Take each set as a task and each seed as a fold."""
    scores = rows.rename(columns={"set": "task", "seed": "fold"}).assign(repeat=0)
    return ModelComparison(scores, "rmse")


def against_hybrid(rows: pd.DataFrame) -> pd.DataFrame:
    """Write ratios of the hybrid's errors to those of the others."""
    if "hybrid" not in set(rows["model"]):
        return pd.DataFrame()
    table = comparison(rows).differences("hybrid")
    table["cell"] = [
        "" if n == 0 else f"{1 / ratio:.2f}" + (" \\*" if p < 0.05 else "")
        for n, ratio, p in table[["n_folds", "ratio", "p_adjusted"]].to_numpy()
    ]
    cells = table.pivot_table(
        index="task", columns="model_a", values="cell", aggfunc="first"
    )
    models = [m for m in MODELS if m in cells.columns]
    cells = cells.reindex(index=measured(rows), columns=models).fillna("")
    return cells[(cells != "").any(axis=1)]


def geometric_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Write geometric means over sets of ratios to the peers."""
    table = wide(rows).reindex(MODELS)
    best = {
        name: errors.mean(axis=1).idxmin()
        for name in measured(rows)
        if (errors := table.loc[["trees", "boosting"], name]).notna().any(axis=None)
    }
    peers = {"the better of trees and boosting": best}
    peers |= {peer: dict.fromkeys(measured(rows), peer) for peer in PEERS}
    out = {
        f"/ {title}": {model: geometric_mean(table, model, of) for model in MODELS}
        for title, of in peers.items()
    }
    cells = pd.DataFrame(out)
    return cells.loc[(cells != "").any(axis=1), (cells != "").any(axis=0)]


def geometric_mean(table: pd.DataFrame, model: str, peers: dict[str, str]) -> str:
    """Average the ratios of a model on the seeds that it shares with the peer."""
    ratios = []
    for name, peer in peers.items():
        pair = table.loc[[model, peer], name].dropna(axis=1).mean(axis=1).to_numpy()
        if np.isfinite(pair).all():
            ratios.append(pair[0] / pair[1])
    return f"{np.exp(np.mean(np.log(ratios))):.2f} ({len(ratios)})" if ratios else ""


def means(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Write means over seeds of a column."""
    table = wide(rows, column)
    out = {name: table[name].mean(axis=1) for name in measured(rows)}
    return pd.DataFrame(out).map(lambda v: "" if np.isnan(v) else f"{v:.0f}")


def missing(scores: pd.DataFrame, expected: dict[str, list[str]]) -> Iterator[str]:
    """Say which sets were not run, and which models lack some of five seeds."""
    for split in SPLITS:
        rows = scores[scores.split == split]
        absent = [name for name in expected if name not in measured(rows)]
        if absent:
            yield bullet(f"{split.capitalize()} folds of {', '.join(absent)}.")
        for name in measured(rows):
            counts = rows[rows["set"] == name].groupby("model").seed.nunique()
            lacks = {m: 5 - counts.get(m, 0) for m in expected[name]}
            gaps = ", ".join(f"{m} ({n})" for m, n in lacks.items() if n)
            if gaps:
                yield bullet(f"Of five seeds, {split} folds of {name} lack: {gaps}.")


def bullet(text: str) -> str:
    """Wrap a line of a list."""
    return textwrap.fill(f"* {text}", WIDTH - 10, subsequent_indent="  ")


def grid(table: pd.DataFrame, corner: str) -> str:
    """Lay a table out in reStructuredText, in parts if it is wide."""
    cells = [[title, *map(str, table[title])] for title in table.columns]
    cells = [[cell or ".." for cell in column] for column in cells]
    names = [corner, *map(str, table.index)]
    parts: list[list[list[str]]] = []
    room = 0
    for column in cells:
        room -= width_of(column) + 2
        if room < 0:
            parts.append([names])
            room = WIDTH - width_of(names) - width_of(column) - 2
        parts[-1].append(column)
    return "\n".join(map(simple_table, parts))


def width_of(column: list[str]) -> int:
    """Number of characters of the widest cell."""
    return max(map(len, column))


def simple_table(columns: list[list[str]]) -> str:
    """Write a simple table of reStructuredText."""
    widths = [width_of(column) for column in columns]
    rule = "  ".join("=" * width for width in widths)
    head, *rows = [
        "  ".join(map(str.ljust, line, widths)).rstrip()
        for line in zip(*columns, strict=True)
    ]
    return "\n".join([rule, head, rule, *rows, rule, ""])
