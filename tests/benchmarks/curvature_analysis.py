"""
Tables of what a study of curvature found
=========================================

They are made of the rows that ``curvature_study.py`` writes to ``errors.csv`` and
``spectra.csv``: how far apart the curvatures of the tasks are, what sharing costs each
task, and whether one has to do with the other. ``curvature_plots.py`` draws them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

STATISTICS = {
    "largest eigenvalue": lambda rows: rows["lambda_max"],
    "trace": lambda rows: rows["trace"],
    "trace / head^2": lambda rows: rows["trace"] / rows["head_norm"] ** 2,
}


def error_changes(errors: pd.DataFrame) -> pd.DataFrame:
    """(multi - single) / single of each seed and task: above 0, sharing costs."""
    single = errors[errors.run.str.startswith("single: ")]
    single = single.set_index(["seed", "task"])["mae"]
    multi = errors[errors.run == "multi-task"].set_index(["seed", "task"])["mae"]
    return ((multi - single) / single).rename("change").unstack("seed")


def dispersion(spectra: pd.DataFrame) -> pd.DataFrame:
    """Log-spread over tasks of each statistic, mean and deviation over seeds."""
    ggn = spectra[spectra.matrix == "ggn"]
    ggn = ggn[~ggn.run.str.startswith("single")]
    rows = []
    for (run, fraction, seed), part in ggn.groupby(["run", "fraction", "seed"]):
        part = part[~part.task.str.endswith(" again")]
        for name, statistic in STATISTICS.items():
            spread = np.log10(statistic(part)).std(ddof=1)
            rows.append((run, fraction, seed, name, spread))
    columns = ["run", "fraction", "seed", "statistic", "log_spread"]
    table = pd.DataFrame(rows, columns=columns)
    groups = table.groupby(["statistic", "run", "fraction"])["log_spread"]
    return groups.agg(["mean", "std", "count"])


def duplicate_noise(spectra: pd.DataFrame, fraction=1.0) -> pd.DataFrame:
    """|log10 ratio| between two heads of one task, beside the log-spread over tasks."""
    part = spectra[(spectra.run == "a task twice") & (spectra.fraction == fraction)]
    rows = []
    for seed, one in part.groupby("seed"):
        again = one[one.task.str.endswith(" again")]
        name = again.task.iloc[0].removesuffix(" again")
        first = one[one.task == name]
        for label, statistic in STATISTICS.items():
            ratio = float(statistic(again).iloc[0] / statistic(first).iloc[0])
            rows.append((label, seed, abs(np.log10(ratio))))
    table = pd.DataFrame(rows, columns=["statistic", "seed", "difference"])
    return table.groupby("statistic")["difference"].agg(["mean", "max", "count"])


def correlations(spectra, errors, groups=None, n_permutations=5000) -> pd.DataFrame:
    """Spearman correlation over tasks of curvature and error change.

    Seeds are averaged before. The p-value permutes tasks within ``groups`` (a task's
    label each), since tasks of one group are no independent draws.
    """
    change = error_changes(errors).mean(axis=1)
    mine = spectra[(spectra.run == "multi-task") & (spectra.fraction == 1.0)]
    mine = mine[mine.matrix == "ggn"]
    rows = {}
    for name, statistic in STATISTICS.items():
        logs = np.log10(statistic(mine)).groupby(mine.task).mean()
        far = (logs - logs.median()).abs()
        for form, values in (("log m", logs), ("|log m - median|", far)):
            rows[name, form] = _correlate(values, change, groups, n_permutations)
    return _correlation_table(rows)


def _correlate(values, change, groups, n_permutations) -> tuple[float, float, float]:
    """Spearman's correlation, its p-value within groups, and that without groups."""
    groups = pd.Series("all", change.index) if groups is None else groups[change.index]
    values = values[change.index]
    rng = np.random.default_rng(0)
    rho, p_free = spearmanr(values, change)
    # Spearman's correlation is Pearson's of the ranks.
    ranks, order = values.rank(), change.rank().to_numpy()
    null = [
        np.corrcoef(_within(ranks, groups, rng), order)[0, 1]
        for _ in range(n_permutations)
    ]
    p = (1 + np.sum(np.abs(null) >= abs(rho) - 1e-12)) / (1 + n_permutations)
    return rho, p, p_free


def _correlation_table(rows: dict) -> pd.DataFrame:
    columns = ["rho", "p_within_groups", "p_free"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index = pd.MultiIndex.from_tuples(rows, names=["statistic", "form"])
    return table


def _within(values: pd.Series, groups: pd.Series, rng) -> np.ndarray:
    mixed = values.to_numpy().copy()
    for group in groups.unique():
        members = np.flatnonzero(groups.to_numpy() == group)
        mixed[members] = rng.permutation(mixed[members])
    return mixed


def single_ratios(spectra: pd.DataFrame) -> pd.DataFrame:
    """log10 of a task's curvature in the shared network over that in its own.

    One row a statistic and task, one column a seed, at the end of the training. Both
    are curvatures in the parameters in front of the heads, which are as many.
    """
    ends = spectra[(spectra.matrix == "ggn") & (spectra.fraction == 1.0)]
    tables = {}
    for name, statistic in STATISTICS.items():
        logs = ends.assign(log=np.log10(statistic(ends)))
        single = logs[logs.run.str.startswith("single: ")]
        shared = logs[logs.run == "multi-task"]
        single, shared = (
            part.set_index(["task", "seed"])["log"].unstack("seed")
            for part in (single, shared)
        )
        tables[name] = (shared - single).reindex(list(dict.fromkeys(ends.task)))
    table = pd.concat(tables, names=["statistic"])
    return table.dropna(how="all").dropna(axis=1, how="all")


def single_correlations(
    spectra, errors, groups=None, n_permutations=5000
) -> pd.DataFrame:
    """Spearman correlation over tasks of what sharing does to curvature and to errors.

    "log ratio" is that of :func:`single_ratios`, "log m, own" the curvature in the
    single-task network; both are averaged over seeds. p-values as in
    :func:`correlations`.
    """
    change = error_changes(errors).mean(axis=1)
    own = spectra[spectra.run.str.startswith("single: ") & (spectra.matrix == "ggn")]
    ratios = single_ratios(spectra).mean(axis=1)
    rows = {}
    for name, statistic in STATISTICS.items():
        logs = np.log10(statistic(own)).groupby(own.task).mean()
        for form, values in (("log ratio", ratios[name]), ("log m, own", logs)):
            rows[name, form] = _correlate(values, change, groups, n_permutations)
    return _correlation_table(rows)


def single_spread(spectra: pd.DataFrame) -> pd.DataFrame:
    """Log-spread over tasks at the end: in networks of their own, and in the shared."""
    ends = spectra[(spectra.matrix == "ggn") & (spectra.fraction == 1.0)]
    ends = ends[(ends.run == "multi-task") | ends.run.str.startswith("single: ")]
    ends = ends.assign(kind=ends.run.where(ends.run == "multi-task", "single"))
    rows = {}
    for name, statistic in STATISTICS.items():
        logs = ends.assign(log=np.log10(statistic(ends)))
        spread = logs.groupby(["kind", "seed"])["log"].std(ddof=1)
        rows[name] = spread.groupby("kind").mean()
    return pd.DataFrame(rows).T


def weighting_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Mean relative error change against single-task models of each rule, percent."""
    single = errors[errors.run.str.startswith("single: ")]
    single = single.set_index(["seed", "task"])["mae"]
    rows = errors[errors.run.str.startswith(("multi-task", "weights"))]
    rows = rows.assign(
        change=[
            100 * (mae / single.get((seed, task), np.nan) - 1)
            for seed, task, mae in zip(rows.seed, rows.task, rows.mae, strict=True)
        ]
    )
    by_seed = rows.groupby(["run", "seed"])["change"].mean()
    return by_seed.groupby("run").agg(["mean", "std", "count"])
