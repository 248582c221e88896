"""Do attributions say what the network has learned, and what do they cost?

The default network learns logP of 600 molecules of ``load_physchem``. Then 500 other
molecules of the set get a hydroxyl group at a random carbon, in place of a hydrogen.

* falls: the prediction is lower than before.
* oxygen: the change of no atom is below that of the added oxygen. The change of an atom
  is its attribution after less that before; that of the oxygen is its attribution.
* group: the changes of the oxygen and its carbon together are negative and below the
  change of each other atom.
* falls and oxygen, falls and group: both.

One row per number goes to a CSV, and a part that is there is not measured again::

    python tests/benchmarks/bench_attributions.py --out attributions.csv
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem
from sklearn.pipeline import make_pipeline

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.inspection import atom_attributions

FIELDS = ["part", "seed", "network", "method", "n_steps", "what", "value"]
N_TRAINING, N_PAIRS, N_TIMED = 600, 500, 1000
SEEDS = (0, 1, 2)
STEPS = (2, 4, 6, 8, 16, 32, 64)


def split(seed):
    """SMILES and logP to learn from, and the SMILES of all other molecules."""
    smiles, y = load_physchem(return_X_y=True)
    smiles, logp = np.asarray(smiles, dtype=object), y["logP"].to_numpy(float)
    rng = np.random.default_rng(seed)
    training = rng.permutation(np.flatnonzero(~np.isnan(logp)))[:N_TRAINING]
    others = rng.permutation(np.setdiff1d(np.arange(len(smiles)), training))
    return smiles[training], logp[training], smiles[others], logp[others]


def fit(seed, smiles, logp, *, trained=True):
    changes = {} if trained else {"max_epochs": 1, "lr": 1e-12}
    network = MultiTaskGNNRegressor(
        # The default when the first rows were measured; all rows must have the same.
        readout="sum",
        random_state=seed,
        n_threads=1,
        **changes,
    )
    return make_pipeline(SmilesToGraph(), network).fit(smiles, logp)


def with_hydroxyl(smiles, rng):
    """Give a molecule, the same with a hydroxyl group, and the place of its carbon."""
    molecule = Chem.MolFromSmiles(smiles)
    carbons = [
        atom.GetIdx()
        for atom in molecule.GetAtoms()
        if atom.GetSymbol() == "C" and atom.GetNumImplicitHs()
    ]
    if not carbons:
        return None
    carbon = int(rng.choice(carbons))
    changed = Chem.RWMol(molecule)
    oxygen = changed.AddAtom(Chem.Atom(8))
    changed.AddBond(carbon, oxygen, Chem.BondType.SINGLE)
    Chem.SanitizeMol(changed)
    return molecule, changed.GetMol(), carbon


def counterfactual(pipe, pairs, method):
    """Shares of the pairs."""
    before, after, carbons = zip(*pairs, strict=True)
    before, after = pipe[0].transform(list(before)), pipe[0].transform(list(after))
    falls = pipe[-1].predict(after) < pipe[-1].predict(before)
    old, new = (
        atom_attributions(pipe[-1], graphs, method=method) for graphs in (before, after)
    )
    oxygen, group = [], []
    for a, b, carbon in zip(old, new, carbons, strict=True):
        change = np.append(b[:-1] - a, b[-1])
        both = change[carbon] + change[-1]
        others = np.delete(change, [carbon, -1])
        oxygen.append(change[-1] <= change.min())
        group.append(both < min(0.0, others.min(initial=0.0)))
    return {
        "falls": falls.mean(),
        "oxygen": np.mean(oxygen),
        "group": np.mean(group),
        "falls and oxygen": (falls & oxygen).mean(),
        "falls and group": (falls & group).mean(),
    }


def learned(seed, add, done):
    keys = [
        ("pairs", str(seed), network, method)
        for network in ("trained", "untrained")
        for method in ("integrated_gradients", "occlusion")
    ]
    if done.issuperset([*keys, ("sum", str(seed), "trained", "integrated_gradients")]):
        return
    smiles, logp, others, labels = split(seed)
    rng = np.random.default_rng(seed)
    made = (with_hydroxyl(s, rng) for s in others)
    pairs = [pair for pair in made if pair is not None][:N_PAIRS]
    pipes = {
        "trained": fit(seed, smiles, logp),
        "untrained": fit(seed, smiles, logp, trained=False),
    }
    known = ~np.isnan(labels)
    score = pipes["trained"].score(others[known], labels[known])
    add("pairs", seed, "trained", "", "", {"R2 of other rows": score})
    for key in keys:
        if key not in done:
            found = counterfactual(pipes[key[2]], pairs, key[3])
            add("pairs", seed, key[2], key[3], "", found)
    graphs = pipes["trained"][0].transform([pair[0] for pair in pairs[:200]])
    for n_steps in STEPS:
        found, difference = atom_attributions(
            pipes["trained"][-1], graphs, n_steps=n_steps, return_difference=True
        )
        error = np.abs([a.sum() for a in found] - difference).mean()
        share = error / np.abs(difference).mean()
        name = "integrated_gradients"
        add("sum", seed, "trained", name, n_steps, {"relative error": share})


def timed(add, done, repeats=5):
    """Attributions of molecules over their prediction, from SMILES, in turn."""
    if ("time", "0", "trained", "integrated_gradients") in done:
        return
    smiles, logp, others, _ = split(0)
    pipe = fit(0, smiles, logp, trained=False)
    rows = others[:N_TIMED]

    def seconds(work):
        begun = time.process_time()
        work()
        return time.process_time() - begun

    def attribute(method):
        return seconds(lambda: atom_attributions(pipe, rows, method=method))

    pairs = [
        (seconds(lambda: pipe.predict(rows)), attribute("integrated_gradients"))
        for _ in range(repeats)
    ]
    prediction, integral = np.median(pairs, axis=0)
    add("time", 0, "trained", "", "", {"prediction (s)": prediction})
    # Once, because it takes a minute.
    once = attribute("occlusion")
    ratios = {
        "integrated_gradients": (integral, np.median([b / a for a, b in pairs])),
        "occlusion": (once, once / prediction),
    }
    for method, (time_taken, ratio) in ratios.items():
        values = {"seconds": time_taken, "over prediction": ratio}
        add("time", 0, "trained", method, "", values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("attributions.csv"))
    path = parser.parse_args().out
    torch.set_num_threads(1)
    done = set()
    if path.exists():
        with path.open(newline="") as file:
            done = {tuple(row[f] for f in FIELDS[:4]) for row in csv.DictReader(file)}
    else:
        path.write_text(",".join(FIELDS) + "\n")

    def add(*key_and_values):
        *key, values = key_and_values
        with path.open("a", newline="") as file:
            for what, value in values.items():
                csv.writer(file).writerow([*key, what, f"{value:.4g}"])
                print(*key, what, f"{value:.4g}", flush=True)

    timed(add, done)
    for seed in SEEDS:
        learned(seed, add, done)


if __name__ == "__main__":
    main()
