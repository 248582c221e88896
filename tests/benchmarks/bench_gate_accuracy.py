"""How well scarce properties are learned beside others: test errors of all ways.

    python tests/benchmarks/bench_gate_accuracy.py --data-home DIR --out FILE.csv \
        --cache FOLDER [--data physchem|qm8|crystals] \
        [--split random|scaffold|formula] \
        [--methods METHOD ...] [--sizes 50 100 200 all] [--minutes M]
    python tests/benchmarks/bench_gate_accuracy.py --out FILE.csv --report
    python tests/benchmarks/bench_gate_accuracy.py --out FILE.csv --memory

* physchem: ``chemicals_multitask.csv.gz`` of the data home, 11 properties with many
  labels as sources, 11 scarce ones as targets; logarithms of what spans decades.
* qm8: the 12 distinct columns of ``qm8.csv`` as sources, the free energies of hydration
  of ``SAMPL.csv`` and the solubilities of ``delaney-processed.csv`` as targets;
  molecules of several files are one row.
* crystals: ``mp_multitask.csv.gz``, CGCNN instead of the D-MPNN; energies and band gaps
  as sources, moduli of 2015, dielectric and piezoelectric properties as targets.
  Twins of these and cells of more than 20 sites are left out. Folds do not share a
  formula (``--split formula``).

Splits are by molecule, for all properties at once; see
``skgnn_mtl.model_selection.compare_transfer`` for the methods and their steps. Beside
its methods there are variants of "addition" and of "gate" (``--methods ablations``),
and "boosting" and "trees" on descriptors of RDKit, or of a crystal's composition. A
line of the file is one method, target, size, fold and seed; what the file holds is not
run again, so that the study can be stopped and resumed, and ``--minutes`` bounds what
one call may take (the run under way is finished). Graphs and source models are kept in
the cache. Several processes may share a cache, not a file; ``--report --also FILES``
reads several. Methods that train all targets together depend on ``--targets``: another
choice of these needs another file.

``--memory`` writes the peak memory of each method instead, each in a process of its own
with one fold, one seed, all labels and a few steps: it does not depend on their number.

Hard sharing visits each row once an epoch, GATE draws rows with scarce labels more
often. "balanced-sharing", GATE without any of its terms, tells the two apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold

from skgnn_mtl import CifToGraph, SmilesToGraph
from skgnn_mtl.datasets import fetch_mp_multitask
from skgnn_mtl.encoders import CGCNN, DMPNN
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.inspection import TransferComparisonDisplay
from skgnn_mtl.model_selection import (
    CompositionKFold,
    LabelPresenceKFold,
    TransferComparison,
    compare_transfer,
    scaffold_groups,
)
from skgnn_mtl.model_selection._transfer_methods import (
    METHODS,
    addition,
    gate,
    takes_all_targets,
)

LOGARITHMS = ["Vc_m3_mol", "rho_kg_m3", "S0g_J_molK"]
LOGARITHMS += ["Hvap298_J_mol", "permittivity", "HvapTb_J_mol", "Hfus_J_mol"]
SOURCES = ["Tm_K", "Tb_K", "Tc_K", "Pc_Pa", "Vc_m3_mol", "rho_kg_m3", "logP", "omega"]
SOURCES += ["RI", "Hfg_J_mol", "S0g_J_molK"]
# By the largest rank correlation with a source, see the user guide.
CLOSE = ["Tflash_K", "Hvap298_J_mol", "HvapTb_J_mol", "hansen_D_Pa05", "Hfus_J_mol"]
CLOSE += ["Hsub_J_mol"]
DISTANT = ["permittivity", "hansen_H_Pa05", "hansen_P_Pa05", "dipole_D", "Tautoign_K"]
QM8_TARGETS = ["FreeSolv (kcal/mol)", "ESOL (log mol/L)"]
MOST_SITES = 20  # of a cell, because a few large ones are much of the time
SPLITS = ["random", "scaffold", "formula"]
KEYS = ["data", "split", "rows_per_source", "width", "layers", "source_steps"]
KEYS += ["target_steps", "method", "target", "size", "fold", "seed"]


def physchem(home: Path):
    """SMILES, labels, sources and targets."""
    table = pd.read_csv(home / "chemicals_multitask.csv.gz")
    y = table[SOURCES + CLOSE + DISTANT].copy()
    y[LOGARITHMS] = np.log10(y[LOGARITHMS].where(y[LOGARITHMS] > 0))
    return table["smiles"], y, SOURCES, CLOSE + DISTANT


def qm8(home: Path):
    """SMILES, labels, sources and targets."""
    excited = pd.read_csv(home / "qm8.csv")
    # The file has the columns of PBE0 twice.
    sources = [c for c in excited if c != "smiles" and not c.endswith(".1")]
    freesolv = pd.read_csv(home / "SAMPL.csv")[["smiles", "expt"]]
    esol = pd.read_csv(home / "delaney-processed.csv")
    measured = "measured log solubility in mols per litre"
    parts = [
        excited[["smiles", *sources]],
        freesolv.rename(columns={"expt": QM8_TARGETS[0]}),
        esol[["smiles", measured]].rename(columns={measured: QM8_TARGETS[1]}),
    ]
    table = pd.concat(parts, ignore_index=True)
    y = table.drop(columns="smiles").groupby(canonical(table["smiles"])).median()
    return pd.Series(y.index), y.reset_index(drop=True), sources, QM8_TARGETS


def canonical(smiles: pd.Series) -> np.ndarray:
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    molecules = map(Chem.MolFromSmiles, smiles)
    return np.array([m and Chem.MolToSmiles(m) for m in molecules], dtype=object)


def crystals(home: Path):
    """CIFs of small cells, labels, sources and targets; logarithms as above."""
    cifs, table = fetch_mp_multitask(data_home=home, return_X_y=True)
    n_sites = pd.read_csv(home / "mp_multitask.csv.gz", usecols=["nsites"])["nsites"]
    table = table.rename(columns=lambda name: name.split(" (")[0])
    y = pd.DataFrame(
        {
            "formation energy": table["formation_energy_per_atom"],
            "energy above hull": np.log10(0.01 + table["e_above_hull"]),
            "band gap": table["band_gap"],
            "log K": np.log10(table["K_VRH"]),
            "log G": np.log10(table["G_VRH"]),
            "log n": np.log10(table["n"]),
            "log permittivity": np.log10(table["poly_total"]),
            "log piezoelectric": np.log10(0.01 + table["eij_max"]),
        }
    )
    small = n_sites <= MOST_SITES
    return cifs[small], y[small], list(y)[:3], list(y)[3:]


DATA: dict[str, Callable] = {"physchem": physchem, "qm8": qm8, "crystals": crystals}


def graphs_of(data: str, strings: pd.Series) -> GraphArray:
    if data == "crystals":
        return CifToGraph(on_error="nan").fit_transform(strings)
    return SmilesToGraph("chemprop", on_error="nan").fit_transform(strings)


def descriptors_of(data: str, strings: pd.Series) -> np.ndarray:
    """Descriptors of RDKit, or of compositions, shape (n, n_descriptors)."""
    if data == "crystals":
        featurizer = CifToGraph(descriptors="composition", on_error="nan")
        return featurizer.fit_transform(strings).graph_features
    return np.asarray(
        SmilesToDescriptors(morgan_counts=0, on_error="nan").fit_transform(strings)
    )


def learner(problem, kind: type):
    """Fit a learner of scikit-learn to the labelled rows of one target."""
    rows, y = problem.labelled()
    return kind(random_state=problem.seed).fit(rows, y.iloc[:, 0])


def random_sources(problem, n: int, **changes):
    chosen = np.random.default_rng(problem.seed).permutation(problem.sources)[:n]
    return addition(problem, sources=chosen.tolist(), **changes)


def shuffled_labels(problem, **changes):
    """Learn labels that have nothing to do with their molecules."""
    name, y = problem.targets[0], problem.y.copy()
    rows = np.flatnonzero(y[name].notna())
    mixed = np.random.default_rng(problem.seed).permutation(rows)
    y.iloc[rows, y.columns.get_loc(name)] = y[name].to_numpy()[mixed]
    return addition(dataclasses.replace(problem, y=y), **changes)


def corrupted_labels(problem, share: float, **changes):
    """Move some labels by two standard deviations, up or down."""
    name, y = problem.targets[0], problem.y.copy()
    rng, rows = np.random.default_rng(problem.seed), np.flatnonzero(y[name].notna())
    wrong = rng.choice(rows, round(share * len(rows)), replace=False)
    column = y.columns.get_loc(name)
    y.iloc[wrong, column] += 2 * y[name].std() * rng.choice([-1, 1], len(wrong))
    return addition(dataclasses.replace(problem, y=y), **changes)


TERMS = ["auto_weight", "consistency_weight", "mapping_weight", "distance_weight"]
# The first group changes the addition only and uses the source models of "addition".
ABLATIONS: dict[str, Callable] = {
    **{f"addition, {term} 0": partial(addition, **{term: 0.0}) for term in TERMS},
    "addition, no alignment": partial(addition, **dict.fromkeys(TERMS, 0.0)),
    "addition, mapping to predictions": partial(addition, mapping_target="predictions"),
    "addition, nearest 3 sources": partial(addition, sources=3),
    "addition, nearest source": partial(addition, sources=1),
    "addition, random 3 sources": partial(random_sources, n=3),
    "addition, from the nearest": partial(addition, target_init="nearest"),
    "addition, 2000 unlabelled": partial(addition, n_unlabelled=2000),
    "addition, 500 unlabelled, no alignment": partial(
        addition, n_unlabelled=500, **dict.fromkeys(TERMS, 0.0)
    ),
    "addition, trained encoder": partial(addition, train_encoder=True),
    "addition, shuffled labels": shuffled_labels,
    "addition, 10 % wrong labels": partial(corrupted_labels, share=0.1),
    # These need source models of their own.
    "addition, untrained sources": partial(
        addition, source={"n_steps": 1, "lr": 1e-12, "weight_decay": 0.0}
    ),
    "addition, plain multi-task sources": partial(addition, kind="frames"),
    "addition, sources without alignment": partial(
        addition, source=dict.fromkeys(TERMS, 0.0)
    ),
    "addition, sources without warm-up": partial(addition, source={"warmup": 0.0}),
    "addition, sources by 3 routes": partial(addition, source={"routes": 3}),
    "addition, sources by the mean route": partial(addition, source={"routes": "mean"}),
    # These train all columns anew.
    **{f"gate, {term} 0": partial(gate, **{term: 0.0}) for term in TERMS},
    "gate, no warm-up": partial(gate, warmup=0.0),
    "gate, rows as they come": partial(gate, task_sampling=None),
    "gate, mapping to predictions": partial(gate, mapping_target="predictions"),
    "gate, 3 routes": partial(gate, routes=3),
    "gate, mean route": partial(gate, routes="mean"),
}
MAIN: dict[str, Callable] = {
    **METHODS,
    # Hard sharing whose rows are drawn as those of GATE, and whose tasks have its maps.
    "balanced-sharing": partial(gate, **dict.fromkeys(TERMS, 0.0)),
    # These see descriptors instead of graphs, and no source.
    "boosting": partial(learner, kind=HistGradientBoostingRegressor),
    "trees": partial(learner, kind=ExtraTreesRegressor),
}
EVERYTHING: dict[str, Callable] = {**MAIN, **ABLATIONS}


def prepare(options):
    """Graphs, labels, sources, targets and folds; graphs come from the cache."""
    smiles, y, sources, targets = DATA[options.data](Path(options.data_home))
    path = Path(options.cache) / f"{options.data}.graphs"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        graphs_of(options.data, smiles).save(path)
    X = GraphArray.load(path)
    labelled = y.notna().any(axis=1).to_numpy()
    rows = np.flatnonzero(X.valid & labelled)
    X, y, smiles = X[rows], y.iloc[rows].reset_index(drop=True), smiles.iloc[rows]
    folds = splits(options, smiles, y)
    # One order of all molecules, so that few of them hold the labels of all sources.
    order = np.random.RandomState(0).permutation(len(y))
    for name in sources:
        have = order[y[name].notna().to_numpy()[order]]
        y.iloc[have[options.rows_per_source :], y.columns.get_loc(name)] = np.nan
    return X, y, sources, targets, folds


def splits(options, smiles, y):
    if options.split == "random":
        return list(LabelPresenceKFold(4, random_state=0).split(y, y))
    if options.split == "formula":
        folds = CompositionKFold(4, by="formula", shuffle=True, random_state=0)
        return list(folds.split(smiles))
    groups = scaffold_groups(smiles, chirality=False, acyclic="own")
    return list(GroupKFold(5).split(y, groups=groups))


def descriptors(options) -> np.ndarray:
    """Descriptors of all rows of ``prepare`` with a label of a target, else NaN."""
    path = Path(options.cache) / f"{options.data}.descriptors.npy"
    if not path.exists():
        smiles, y, _, targets = DATA[options.data](Path(options.data_home))
        X = GraphArray.load(path.with_name(f"{options.data}.graphs"))
        rows = np.flatnonzero(X.valid & y.notna().any(axis=1).to_numpy())
        wanted = y.iloc[rows][targets].notna().any(axis=1).to_numpy()
        known = descriptors_of(options.data, smiles.iloc[rows[wanted]])
        table = np.full((len(rows), known.shape[1]), np.nan, dtype=np.float32)
        table[wanted] = known
        np.save(path, table)
    return np.load(path)


def study(options) -> None:
    torch.set_num_threads(options.threads)
    X, y, sources, targets, folds = prepare(options)
    targets = options.targets or targets
    started = time.perf_counter()
    for seed, fold in ((s, f) for s in options.seeds for f in options.folds):
        for size in options.sizes:
            for method in methods_of(options):
                setting = settings(options, method, size, fold, seed)
                todo = missing(Path(options.out), setting, targets)
                if not todo:
                    continue
                if time.perf_counter() - started > 60 * options.minutes:
                    print("out of time; call again to go on")
                    return
                if takes_all_targets(EVERYTHING[method]):
                    todo = targets
                run(options, X, y, sources, todo, folds[fold], setting)


def methods_of(options) -> list[str]:
    names = []
    for name in options.methods:
        names += list(ABLATIONS) if name == "ablations" else [name]
    return names


def settings(options, method: str, size: str, fold: int, seed: int) -> dict:
    chosen = {name: getattr(options, name) for name in KEYS[:7]}
    return {**chosen, "method": method, "size": size, "fold": fold, "seed": seed}


def missing(path: Path, setting: dict, targets: list[str]) -> list[str]:
    """Targets that the file has no row of."""
    if not path.is_file():
        return targets
    runs = pd.read_csv(path, dtype={"size": str})
    same = [runs[name] == value for name, value in setting.items()]
    found = set(runs.loc[np.logical_and.reduce(same), "target"])
    return [name for name in targets if name not in found]


def run(options, X, y, sources, targets, rows, setting: dict) -> None:
    """Append the rows of one method, size, fold and seed."""
    start, cpu = time.perf_counter(), time.process_time()
    size = None if setting["size"] == "all" else int(setting["size"])
    if setting["method"] in ("boosting", "trees"):
        X = descriptors(options)
    encoder = CGCNN if options.data == "crystals" else DMPNN
    errors = compare_transfer(
        X,
        y,
        sources=sources,
        targets=targets,
        sizes=(size,),
        cv=[rows],
        methods={setting["method"]: EVERYTHING[setting["method"]]},
        encoder=encoder(options.width, n_layers=options.layers),
        parameters={"batch_size": options.batch_size},
        gate_parameters=options.gate,
        source_steps=options.source_steps,
        target_steps=options.target_steps,
        random_states=[setting["seed"]],
        cache=options.cache,
    ).errors.assign(**setting)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    path = Path(options.out)
    columns = KEYS + [name for name in errors if name not in KEYS]
    errors[columns].round(5).to_csv(
        path, mode="a", header=not path.is_file(), index=False
    )
    print(
        f"{setting['method']}, size {setting['size']}, fold {setting['fold']}, "
        f"seed {setting['seed']}: {seconds:.1f} s in all, {cpu:.1f} of the processor, "
        f"{errors['seconds'].mean():.1f} s a target, "
        f"mean error {errors['error'].mean():.3f}",
        flush=True,
    )


def memory(options) -> None:
    """Write what each method adds to the memory of a process that holds the graphs."""
    rows = {}
    for method in ["", *methods_of(options)]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--out", f"{folder}/errors.csv"]
            for name in ("cache", "data", "data_home", "split", "width", "layers"):
                command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
            command += "--sizes all --folds 0 --seeds 0".split()
            command += "--source-steps 20 --target-steps 20 --methods".split()
            process = subprocess.Popen([*command, method] if method else command)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{method or 'the process without a method'} failed.")
        rows[method] = usage.ru_maxrss / 1024
        print(f"{method or 'graphs alone'}: {rows[method]:.0f} MiB", flush=True)
    table = pd.Series(rows, name="peak_mib")
    table = table.to_frame().assign(added_mib=table - table[""])
    table.rename_axis("method").round(1).to_csv(options.out)


# -- report --------------------------------------------------------------------------


def report(options) -> None:
    """Print the tables of one or several files."""
    paths = [Path(options.out), *map(Path, options.also)]
    runs = pd.concat([pd.read_csv(path, dtype={"size": str}) for path in paths])
    runs = runs.drop_duplicates(KEYS, keep="last")
    for setting, part in runs.groupby(KEYS[:7]):
        named = zip(KEYS[:7], setting, strict=True)
        print("\n" + "=" * 88 + "\n" + ", ".join(f"{k} {v}" for k, v in named))
        folds, seeds = part["fold"].nunique(), part["seed"].nunique()
        print(f"{folds} folds, {seeds} seeds, {part['target'].nunique()} targets")
        main = part[part["method"].isin(MAIN)]
        cost(main)
        for kind, targets in (
            ("all targets", list(part["target"].unique())),
            ("close targets", CLOSE),
            ("distant targets", DISTANT),
        ):
            chosen = main[main["target"].isin(targets)]
            for to in ("single-task", "hard-sharing"):
                if to in set(chosen["method"]):
                    print(f"\n{kind}, against {to}")
                    show(overall(TransferComparison(chosen), to))
        for to in ("single-task", "hard-sharing"):
            if to in set(main["method"]):
                print(f"\nby target, against {to}: change % (p of folds and seeds)")
                show(by_target(TransferComparison(main), to))
        ablation(part)
        if options.figures:
            draw(Path(options.figures), TransferComparison(main), *setting[:2])


def draw(folder: Path, comparison: TransferComparison, data: str, split: str) -> None:
    kinds = ["learning_curves"]
    if comparison.errors["target"].nunique() > 2:
        kinds.append("radar")
    for kind in kinds:
        display = TransferComparisonDisplay.from_comparison(comparison, kind=kind)
        display.figure_.savefig(folder / f"gate_{data}_{split}_{kind}.png", dpi=80)


def overall(comparison: TransferComparison, to: str) -> pd.DataFrame:
    """Means over targets; tests pair the means over targets of each fold and seed."""
    table = comparison.summary(to, by=("method", "size"))
    pairs = comparison.paired(to)
    # Targets of one family are not independent; a fold and seed counts once.
    cells = pairs.groupby(["method", "size", "fold", "seed"], sort=False)["change"]
    cells = cells.mean().groupby(["method", "size"], sort=False)
    table["sd"] = cells.std()
    runs = comparison.errors.assign(error=np.nan)
    means = comparison.errors.groupby(["method", "size", "fold", "seed"], sort=False)
    runs = means["error"].mean().reset_index().assign(target="mean")
    tested = TransferComparison(runs).summary(to, by=("method", "size"))
    table["p_value"] = tested["p_value"]
    return table


def by_target(comparison: TransferComparison, to: str) -> pd.DataFrame:
    table = comparison.summary(to)
    cells = [
        f"{change:+.1f} ({p:.3f})"
        for change, p in zip(table["change"], table["p_value"], strict=True)
    ]
    text = pd.Series(cells, table.index).unstack("method")
    return text[[name for name in MAIN if name in text]]


def ablation(runs: pd.DataFrame) -> None:
    for base in ("addition", "gate"):
        variants = [name for name in EVERYTHING if name.startswith(base)]
        chosen = runs[runs["method"].isin(variants)]
        if chosen["method"].nunique() > 1 and base in set(chosen["method"]):
            print(f"\nvariants of {base}, against it")
            show(overall(TransferComparison(chosen), base))


def cost(runs: pd.DataFrame) -> None:
    columns = ["trained_parameters", "parameters", "seconds", "seconds_to_best"]
    print("\ncost: medians over targets, sizes, folds and seeds")
    show(runs.groupby("method", sort=False)[[*columns, "source_seconds"]].median())


def show(table: pd.DataFrame) -> None:
    print(table.round(4).to_string())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=sorted(DATA), default="physchem")
    parser.add_argument("--data-home", default="../shared/data")
    parser.add_argument("--cache", default="gate-cache")
    parser.add_argument("--out", required=True)
    parser.add_argument("--also", nargs="*", default=[], help="more files to report")
    parser.add_argument("--split", choices=SPLITS, default="random")
    parser.add_argument("--methods", nargs="*", default=list(MAIN))
    parser.add_argument("--targets", nargs="*")
    parser.add_argument("--sizes", nargs="*", default=["50", "100", "200", "all"])
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 1, 2, 3])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rows-per-source", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--latent-dim", type=int, default=32)
    parser.add_argument("--source-steps", type=int, default=2000)
    parser.add_argument("--target-steps", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--figures", help="a folder for pictures beside the report")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    d = options.latent_dim
    options.gate = {
        "latent_dim": d,
        "encoder_hidden_dims": (2 * d,),
        "transfer_hidden_dims": (d,),
        "head_hidden_dims": (d,),
        # The default of many tasks is fewer, since this study.
        "routes": "all",
    }
    unknown = set(methods_of(options)) - set(EVERYTHING)
    if unknown:
        parser.error(f"no such method: {sorted(unknown)}; there are {list(EVERYTHING)}")
    task = report if options.report else memory if options.memory else study
    task(options)


if __name__ == "__main__":
    main()
