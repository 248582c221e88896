"""Train chemprop by its own command, with its defaults, and predict.

    python chemprop_peer.py FOLDER N_MEMBERS SEED {regression,classification}

FOLDER has ``train.csv`` (``smiles``, the targets, and ``split`` with train and val) and
``test.csv``. ``predictions.csv`` and ``times.json`` are written beside them. The times
are CPU seconds of training and prediction without the import of chemprop.
"""

import json
import resource
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from chemprop.cli.main import main

COMMON = ["--accelerator", "cpu", "--devices", "1", "--num-workers", "0"]


def call(*words: object) -> float:
    """Run a command of chemprop in this process; return its CPU seconds."""
    sys.argv = ["chemprop", *map(str, words), *COMMON]
    start = time.process_time()
    main()
    return time.process_time() - start


def run(folder: Path, n_members: int, seed: int, kind: str) -> None:
    """Train and predict, and write the results."""
    table = pd.read_csv(folder / "train.csv", nrows=1)
    targets = [name for name in table if name not in ("smiles", "split")]
    fit = call(
        *("train", "--data-path", folder / "train.csv", "--smiles-columns", "smiles"),
        *("--target-columns", *targets, "--splits-column", "split"),
        *("--task-type", kind, "--ensemble-size", n_members),
        *("--pytorch-seed", seed, "--output-dir", folder / "model"),
    )
    models = sorted((folder / "model").glob("model_*/best.pt"))
    predict = call(
        *("predict", "--test-path", folder / "test.csv", "--smiles-columns", "smiles"),
        *("--model-paths", *models, "--output", folder / "predictions.csv"),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = {"fit_seconds": fit, "predict_seconds": predict, "peak_mb": peak}
    (folder / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
