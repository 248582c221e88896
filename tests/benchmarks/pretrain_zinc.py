"""Pretrain a D-MPNN on descriptors of molecules of ZINC, in chunks that resume.

The labels are RDKit's 2-D descriptors that vary, standardised and winsorised at five
deviations, as in CheMeleon (arXiv:2506.15792). Descriptors are cached in the working
folder; after each chunk the pretrainer is saved there, and a CSV gets a row. A second
call goes on where the first was stopped, bit for bit::

    python tests/benchmarks/pretrain_zinc.py --work zinc --molecules 100000

A user's own pretraining is the same with ``--smiles file``, one SMILES per line.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from skgnn_mtl import GNNPretrainer, SmilesToGraph
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.readouts import Sum

SHARED = Path(__file__).parents[3] / "shared"
CHUNK = 10_000
LIMIT = 5.0


def read_smiles(path, n):
    """Draw SMILES from a file, one per line."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        lines = [line.split()[0] for line in file if line.strip()]
    order = np.random.default_rng(0).permutation(len(lines))[:n]
    return [lines[k] for k in order]


def descriptors_of(smiles, work):
    """Compute descriptors chunk by chunk, (n, d); a chunk on disk is not repeated."""
    transformer = SmilesToDescriptors(morgan_counts=0, on_error="nan").fit(smiles[:1])
    tables = []
    for start in range(0, len(smiles), CHUNK):
        path = work / f"descriptors_{start}.npy"
        if not path.exists():
            table = transformer.transform(smiles[start : start + CHUNK])
            np.save(work / "partial.npy", table.astype(np.float32))
            os.replace(work / "partial.npy", path)
        tables.append(np.load(path))
    return np.concatenate(tables), transformer.get_feature_names_out()


def standardised(table):
    """Winsorise and standardise the columns that vary."""
    table = np.where(abs(table) > 1e6, np.nan, table).astype(np.float64)
    spread = np.nanstd(table, axis=0)
    common = np.mean(table != np.nanmedian(table, axis=0), axis=0)
    kept = np.flatnonzero((spread > 0) & (common > 1e-3))
    table = (table - np.nanmean(table, axis=0))[:, kept] / spread[kept]
    return np.clip(table, -LIMIT, LIMIT), kept


def export(encoder, path):
    """Write the weights in half precision, with what rebuilds the encoder."""
    state = {key: value.half() for key, value in encoder.state_dict().items()}
    settings = {
        "parameters": encoder.get_params(deep=False),
        "schema": encoder.schema.to_dict(),
    }
    save_file(state, path, metadata={"settings": json.dumps(settings)})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--smiles", type=Path, default=SHARED / "data/zinc250k.txt.gz")
    parser.add_argument("--molecules", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--export", type=Path, help="write the encoder's weights here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    smiles = read_smiles(options.smiles, options.molecules)
    graphs = SmilesToGraph(features="chemprop", on_error="nan").transform(smiles)
    table, names = descriptors_of(smiles, options.work)
    table, kept = standardised(table)
    print(len(smiles), "molecules,", len(kept), "descriptors", flush=True)
    n_chunks = len(smiles) // CHUNK
    n_calls = options.epochs * n_chunks
    saved, log = options.work / "pretrainer", options.work / "log.csv"
    model = GNNPretrainer(
        DMPNN(),
        readout=Sum(norm=20),
        auxiliary_tasks=(),
        target_loss="squared_error",
        batch_size=128,
        gradient_clip=1.0,
        random_state=0,
        device="cpu",
    )
    if saved.exists():
        model = GNNPretrainer.load(saved)
    for call in range(len(getattr(model, "history_", [])), n_calls):
        epoch, place = divmod(call, n_chunks)
        rows = np.random.default_rng(epoch).permutation(len(smiles))
        rows = rows[place * CHUNK : (place + 1) * CHUNK]
        # A warm-up over the first chunk, then half a cosine.
        rate = options.lr * 0.5 * (1 + math.cos(math.pi * call / n_calls))
        model.set_params(lr=rate if call else options.lr / 5)
        start = time.perf_counter()
        model.partial_fit(graphs[rows], table[rows])
        seconds = time.perf_counter() - start
        model.save(options.work / "partial")
        os.replace(options.work / "partial", saved)
        record = model.history_[-1]
        new = not log.exists()
        with log.open("a", newline="") as file:
            writer = csv.writer(file)
            losses = list(record["train_losses"].values())
            if new:
                writer.writerow(["call", "lr", "seconds", "loss", *names[kept]])
            writer.writerow([call, rate, seconds, record["train_loss"], *losses])
        print(call, n_calls, round(record["train_loss"], 4), round(seconds), flush=True)
    if options.export is not None:
        export(model.encoder_, options.export)


if __name__ == "__main__":
    main()
