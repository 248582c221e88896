"""Pictures of what a study of curvature found.

::

    python tests/benchmarks/curvature_plots.py FOLDER

draws a study from a folder that ``curvature_study.py`` has filled; the page "Curvature"
of the documentation shows those of QM8 and Materials Project. Without a folder it runs
a small study first, on molecules that the package ships, or with ``crystals`` on its
crystals.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from curvature_analysis import (
    STATISTICS,
    correlations,
    dispersion,
    duplicate_noise,
    error_changes,
    single_correlations,
    single_ratios,
    single_spread,
    weighting_table,
)
from curvature_study import SMALL, SMALL_CRYSTALS, Study, load
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from skgnn_mtl.curvature import HessianSpectrum
from skgnn_mtl.inspection import HessianSpectrumDisplay


def small_study(folder):
    """Run one seed on shipped molecules."""
    X, y = load("physchem", SMALL)
    Study(X, y, folder, SMALL).run(seed=0)


def small_study_of_crystals(folder, setting=SMALL_CRYSTALS):
    """Run one seed on shipped crystals, of which each property lacks some labels.

    Elastic properties follow from one tensor. So their labels are taken away here, with
    shares that differ, as in tables that are joined from several sources.
    """
    X, y = load("elasticity", setting)
    shares = np.linspace(0.1, 0.6, y.shape[1])
    missing = np.random.default_rng(0).random(y.shape) < shares
    missing[missing.all(axis=1), 0] = False
    Study(X, y.mask(missing), folder, setting).run(seed=0)


def draw_spectra(folder, seed=0):
    """Save the pictures of the multi-task network of one seed."""
    folder = Path(folder)
    for matrix in ("hessian", "ggn"):
        files = sorted(
            folder.glob(f"multi-task_{seed}_{matrix}_*.npz"),
            key=lambda path: float(path.stem.rsplit("_", 1)[1]),
        )
        path = [HessianSpectrum.load(file) for file in files]
        for kind in ("density", "eigenvalues", "trace", "pairs"):
            save(HessianSpectrumDisplay.from_spectrum(path[-1], kind=kind).figure_,
                 folder / f"{matrix}_{kind}.png")  # fmt: skip
        display = HessianSpectrumDisplay.from_spectrum(path, kind="history")
        save(display.figure_, folder / f"{matrix}_history.png")


def save(figure, path):
    """Write a figure and forget it."""
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw_dispersion(folder):
    """Draw the spread over tasks beside its nulls; return the table."""
    spectra = pd.read_csv(Path(folder) / "spectra.csv")
    table = dispersion(spectra)
    figure, axes = plt.subplots(
        1, len(STATISTICS), figsize=(11, 3.6), sharey=True, layout="constrained"
    )
    styles = {"multi-task": ("#0072B2", "o"), "shuffled labels": ("#D55E00", "s")}
    if "equal label counts" in set(spectra.run):
        styles["equal label counts"] = ("#009E73", "D")
    for ax, name in zip(axes, STATISTICS, strict=True):
        for run, (colour, marker) in styles.items():
            rows = table.loc[name].loc[run]
            ax.errorbar(
                rows.index,
                rows["mean"],
                yerr=rows["std"].fillna(0),
                color=colour,
                marker=marker,
                capsize=3,
                label={"multi-task": "true labels"}.get(run, run),
            )
        fractions = sorted(spectra[spectra.run == "a task twice"].fraction.unique())
        noise = [
            duplicate_noise(spectra, f).loc[name, "mean"] / np.sqrt(2)
            for f in fractions
        ]
        ax.plot(fractions, noise, "k^--", markersize=5, label="one task, two heads")
        ax.set_title(f"{name} (Gauss-Newton)", fontsize=10)
        ax.set_xlabel("fraction of the training")
        ax.grid(color="0.92")
    # Only now: the panels share their scale.
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("spread over tasks of log10")
    axes[0].legend(fontsize=8, frameon=False)
    save(figure, Path(folder) / "dispersion.png")
    return table


def task_groups(tasks):
    """Levels of theory of one quantity, which are no independent tasks; else None."""
    groups = pd.Series({task: task.split("-")[0] for task in tasks})
    return None if groups.is_unique else groups


def draw_costs(folder):
    """Draw error change against curvature; return changes and correlations."""
    spectra = pd.read_csv(Path(folder) / "spectra.csv")
    errors = pd.read_csv(Path(folder) / "errors.csv")
    changes = 100 * error_changes(errors)
    groups = task_groups(changes.index)
    table = correlations(spectra, errors, groups)
    last = spectra[
        (spectra.run == "multi-task")
        & (spectra.fraction == 1.0)
        & (spectra.matrix == "ggn")
    ]
    figure, axes = plt.subplots(
        1, len(STATISTICS), figsize=(11, 3.8), sharey=True, layout="constrained"
    )
    colours = plt.get_cmap("tab10")
    kinds = changes.index if groups is None else list(dict.fromkeys(groups))
    for ax, (name, statistic) in zip(axes, STATISTICS.items(), strict=True):
        values = statistic(last).groupby(last.task)
        for task in changes.index:
            kind = task if groups is None else groups[task]
            m, c = values.get_group(task), changes.loc[task]
            ax.errorbar(
                m.mean(),
                c.mean(),
                xerr=m.std(ddof=1) if len(m) > 1 else None,
                yerr=c.std(ddof=1) if len(c) > 1 else None,
                fmt="o",
                color=colours(list(kinds).index(kind) % 10),
                label=kind,
                elinewidth=0.8,
            )
        rho, p = table.loc[(name, "log m"), ["rho", "p_within_groups"]]
        ax.set_title(f"rank correlation {rho:+.2f}, p = {p:.2f}", fontsize=10)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(f"{name} (Gauss-Newton, log)")
        ax.axhline(0, color="0.3", linewidth=0.8)
        ax.grid(color="0.92")
    axes[0].set_ylabel("change of the error by sharing, %\n(above 0: sharing costs)")
    handles, labels = axes[0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(
        once.values(), once, loc="outside right upper", fontsize=8, frameon=False
    )
    save(figure, Path(folder) / "costs.png")
    return changes, table


def draw_single(folder):
    """Draw the ratios shared / own of each task; return ratios and correlations."""
    spectra = pd.read_csv(Path(folder) / "spectra.csv")
    errors = pd.read_csv(Path(folder) / "errors.csv")
    ratios = 10 ** single_ratios(spectra)
    tasks = list(dict.fromkeys(ratios.index.get_level_values("task")))
    groups = task_groups(tasks)
    table = single_correlations(spectra, errors, groups)
    figure, axes = plt.subplots(
        1,
        len(STATISTICS),
        figsize=(11, 0.32 * len(tasks) + 1.6),
        sharey=True,
        sharex=True,
        layout="constrained",
    )
    rows = np.arange(len(tasks))
    for ax, name in zip(axes, STATISTICS, strict=True):
        part = ratios.loc[name].loc[tasks]
        for row, (_, values) in zip(rows, part.iterrows(), strict=True):
            known = values.dropna()
            ax.plot(known, np.full(len(known), row), "o", color="0.7", markersize=4)
        middle = 10 ** np.log10(part).mean(axis=1)
        ax.plot(middle, rows, "D", color="#0072B2", markersize=6)
        ax.axvline(1, color="0.3", linewidth=0.8)
        rho, p = table.loc[(name, "log ratio"), ["rho", "p_within_groups"]]
        ax.set_title(
            f"{name}\nrank correlation with the cost: {rho:+.2f}, p = {p:.2f}",
            fontsize=10,
        )
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(axis="x", color="0.92")
    axes[0].set_yticks(rows, [task.split(" (")[0] for task in tasks])
    axes[0].invert_yaxis()
    figure.supxlabel(
        "curvature in the shared network / in a network of its own, at the end "
        "(Gauss-Newton, log); grey: seeds, blue: their geometric mean",
        fontsize=9,
    )
    save(figure, Path(folder) / "single.png")
    return ratios, table, single_spread(spectra)


def draw_weightings(folder):
    """Draw the rules; return the table."""
    table = weighting_table(pd.read_csv(Path(folder) / "errors.csv"))
    table = table.sort_values("mean")
    names = [
        n.removeprefix("weights: ").replace("multi-task", "equal") for n in table.index
    ]
    figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
    ax.barh(
        names, table["mean"], xerr=table["std"].fillna(0), color="#0072B2", alpha=0.75
    )
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.invert_yaxis()
    ax.set_xlabel(
        "mean change of the error against single-task networks, %\n"
        "(smaller is better; bars: standard deviation over seeds)"
    )
    save(figure, Path(folder) / "weightings.png")
    return table


def main(folder=None, run=small_study):
    """Draw everything from a folder, or from a small study that ``run`` makes."""
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = temporary
            run(folder)
        draw_spectra(folder)
        spread = draw_dispersion(folder)
        changes, table = draw_costs(folder)
        ratios, single, spread_of_both = draw_single(folder)
        rules = draw_weightings(folder)
    print("\nSpread over tasks of log10:")
    print(spread.round(3).to_string())
    print("\nChange of the error by sharing, %:")
    print(changes.assign(mean=changes.mean(axis=1)).round(1).to_string())
    print("\nRank correlation with curvature:")
    print(table.round(3).to_string())
    print("\nCurvature in the shared network / in a network of its own:")
    print(ratios.round(2).to_string())
    print("\nSpread over tasks in both, at the end:")
    print(spread_of_both.round(3).to_string())
    print("\nRank correlation of the ratio, and of the own curvature, with the change:")
    print(single.round(3).to_string())
    print("\nRules:")
    print(rules.round(2).to_string())
    return spread, changes, table, rules


if __name__ == "__main__":
    if sys.argv[1:2] == ["crystals"]:
        main(run=small_study_of_crystals)
    else:
        main(*sys.argv[1:2])
