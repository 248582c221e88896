"""Tables of ``docs/benchmarks/gate.rst`` from the rows of the runs.

    python tests/benchmarks/gate_tables.py

Intervals are those of Student's t over folds, seeds of a fold averaged: 95 %. Folds
share training rows, so that an interval is an orientation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from prediction_tables import grid
from scipy.stats import t as student

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
SINGLE, JOINT = "single-task", "gate, 3 routes"
WIDE = [SINGLE, "hard-sharing", JOINT, "trees"]
WIDE += [f"{name} + trees" for name in WIDE[:3]]
# Tasks with fewer labels in the whole table of 31 are "scarce".
SCARCE = ["Tflash_K", "Hvap298_J_mol", "HvapTb_J_mol", "Hfus_J_mol", "Hsub_J_mol"]
SCARCE += ["hansen_D_Pa05", "hansen_H_Pa05", "hansen_P_Pa05", "permittivity"]
SCARCE += ["dipole_D", "Tautoign_K", "ESOL", "FreeSolv"]
SCARCE += [f"LOG PLASMA PROTEIN BINDING ({a}) (% unbound)" for a in ("HUMAN", "RAT")]


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean and ends of its 95 % interval."""
    n, mean = len(values), values.mean()
    half = student.ppf(0.975, n - 1) * values.std() / n**0.5 if n > 1 else np.nan
    return mean, mean - half, mean + half


def written(values: pd.Series) -> str:
    """Write a mean with its interval."""
    values = values.dropna()
    if len(values) < 2:
        return f"{values.mean():+.1f}" if len(values) else ".."
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*interval(values))


def changes(runs: pd.DataFrame, to: str) -> pd.DataFrame:
    """Relative change of each error in %, a row per fold, seed and task or target."""
    task = "task" if "task" in runs else "target"
    table = runs.pivot_table(
        index=["fold", "seed", task], columns="method", values="error"
    )
    return 100 * (table.div(table[to], axis=0) - 1)


def against(runs: pd.DataFrame, to: str, names: list[str]) -> dict[str, str]:
    """Mean change over tasks, its interval over folds, and the share of cells won."""
    table = changes(runs, to)
    cells = {}
    for name in names:
        if name in table and name != to:
            column = table[name].dropna()
            won = 100 * (column < 0).mean()
            cells[name] = f"{written(column.groupby('fold').mean())}, {won:.0f}"
    return cells


def wide(runs: pd.DataFrame) -> str:
    """Errors on 31 tasks."""
    runs = runs[runs["size"].astype(str) == "all"]
    scarce = runs["task"].isin(SCARCE)
    columns = {}
    for to in (SINGLE, "trees"):
        for group, part in (("rich", runs[~scarce]), ("scarce", runs[scarce])):
            columns[f"{group}, to {to}"] = pd.Series(against(part, to, WIDE))
    table = pd.DataFrame(columns).reindex([n for n in WIDE if n in set(runs["method"])])
    folds = runs.groupby("method")["fold"].nunique().reindex(table.index)
    return grid(table.fillna("..").assign(folds=folds.astype(str)), "way")


def totals(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of all conjunctions of a fold together; rows are method and fold."""
    sums = rows.groupby(["method", "fold"]).sum(numeric_only=True)
    scores = pd.DataFrame(
        {
            "precision": 100 * sums["found"] / sums["predicted"],
            "recall": 100 * sums["found"] / sums["hits"],
            "found_first": 100 * sums["found_first"] / sums["hits"],
            "false": sums["predicted"] - sums["found"],
        }
    )
    shuffled = sums["predicted_shuffled"] - sums["found_shuffled"]
    scores["dependence"] = 100 * (scores["false"] / shuffled - 1)
    return scores


def screening(rows: pd.DataFrame) -> str:
    """Precision, recall, and false hits in % of those of separate networks."""
    scores = totals(rows)
    names = [name for name in WIDE if name in scores.index.get_level_values(0)]
    base, lines = scores.loc[SINGLE], {}
    for name in names:
        ours = scores.loc[name]
        means = ours.mean()
        false = 100 * (ours["false"] / base["false"] - 1)
        lines[name] = {
            "precision": f"{means['precision']:.1f}",
            "recall": f"{means['recall']:.1f}",
            "false hits, %": ".." if name == SINGLE else written(false),
            "first": f"{means['found_first']:.1f}",
            "first, points": ".."
            if name == SINGLE
            else written(ours["found_first"] - base["found_first"]),
        }
    return grid(pd.DataFrame(lines).T, "way")


def by_criteria(rows: pd.DataFrame) -> str:
    """False hits of joint against separate networks, by the number of criteria."""
    lines = {}
    for k, part in [*rows.groupby("k"), ("all", rows)]:
        scores = totals(part)
        joint, single = scores.loc[JOINT], scores.loc[SINGLE]
        points = joint["precision"] - single["precision"]
        lines[str(k)] = {
            "hits %": f"{100 * part['hits'].sum() / part['rows'].sum():.0f}",
            "false hits, change %": written(
                100 * (joint["false"] / single["false"] - 1)
            ),
            "precision, points": written(points),
            "recall, points": written(joint["recall"] - single["recall"]),
        }
    return grid(pd.DataFrame(lines).T, "criteria")


def dependence(rows: pd.DataFrame) -> str:
    """False hits over those of errors that have nothing to do with each other."""
    scores = totals(rows)["dependence"]
    names = [name for name in WIDE if name in scores.index.get_level_values(0)]
    lines = {name: {"change %": written(scores.loc[name])} for name in names}
    return grid(pd.DataFrame(lines).T, "way")


CRYSTALS = [SINGLE, "hard-sharing", "linear-probe", "source-predictions"]
CRYSTALS += ["fine-tuning", "gate", "addition", "addition-unlabelled"]
CRYSTALS += ["boosting", "trees"]


def crystals(runs: pd.DataFrame) -> str:
    """Changes of the error on crystals, all targets together."""
    runs = runs[runs["data"] == "crystals"]
    columns = {}
    for size, part in runs.groupby("size", sort=False):
        for to in (SINGLE, "hard-sharing", "trees"):
            columns[f"{size} labels, to {to}"] = pd.Series(against(part, to, CRYSTALS))
    table = pd.DataFrame(columns).reindex(CRYSTALS).dropna(how="all")
    return grid(table.fillna(".."), "way")


def crystal_targets(runs: pd.DataFrame, size: str = "50") -> str:
    """Mean errors of each target, in standard deviations of its labels."""
    runs = runs[(runs["data"] == "crystals") & (runs["size"].astype(str) == size)]
    table = runs.pivot_table(index="method", columns="target", values="error")
    table = table.reindex([name for name in CRYSTALS if name in table.index])
    return grid(table.map("{:.3f}".format), "way")


BESIDE = [SINGLE, "hard-sharing", "gate", "addition-unlabelled", "boosting", "trees"]


def descriptors(runs: pd.DataFrame) -> str:
    """The physical properties, beside learners on descriptors that see no source."""
    runs = runs[(runs["data"] == "physchem") & runs["method"].isin(BESIDE)]
    lines = {}
    for (split, size), part in runs.groupby(["split", "size"], sort=False):
        if "trees" not in set(part["method"]):
            continue
        # The folds and seeds that all ways have.
        cells = part.groupby(["fold", "seed", "method"])["error"].mean()
        cells = cells.unstack().dropna().index
        part = part.set_index(["fold", "seed"]).loc[cells].reset_index()
        found = against(part, "trees", BESIDE)
        lines[f"{split}, {size}"] = found | {"pairs": str(len(cells))}
    order = sorted(
        lines, key=lambda name: (name.split(", ")[0] != "scaffold", len(name))
    )
    names = [name for name in [*BESIDE, "pairs"] if name != "trees"]
    table = pd.DataFrame(lines).reindex(names)[order]
    return grid(table.fillna(".."), "to trees")


def steps(rows: pd.DataFrame) -> str:
    """Time of a step over that of hard sharing."""
    lines = {}
    for n_tasks, part in rows.groupby("tasks"):
        lines[str(n_tasks)] = cells = {}
        for name in ("GATE", "GATE, 3 routes"):
            ratio = part[name] / part["hard sharing"]
            middle = part[name].median() / part["hard sharing"].median()
            cells[name] = f"{middle:.1f} ({ratio.min():.1f} to {ratio.max():.1f})"
    return grid(pd.DataFrame(lines).T, "tasks")


def tables(folder: Path = DOCS) -> dict[str, str]:
    """All tables of the page that are written from files."""
    runs = pd.read_csv(folder / "gate_accuracy.csv.gz", dtype={"size": str})
    hits = pd.read_csv(folder / "gate_screening.csv.gz")
    return {
        "descriptors": descriptors(runs),
        "wide": wide(pd.read_csv(folder / "gate_wide.csv", dtype={"size": str})),
        "screening": screening(hits),
        "by criteria": by_criteria(hits),
        "dependence": dependence(hits),
        "crystals": crystals(runs),
        "crystal targets": crystal_targets(runs),
        "steps": steps(pd.read_csv(folder / "gate_steps.csv")),
    }


if __name__ == "__main__":
    for name, table in tables().items():
        print(f"\n{name}\n\n{table}")
