"""Train chemprop by its own command, and predict with calibrated uncertainties.

    python chemprop_confidence_peer.py FOLDER {ensemble,mve} SEED

FOLDER has ``train.csv`` (``smiles``, the targets, and ``split`` with train and val),
``val.csv`` (the rows of the split "val" with their targets), by which chemprop's
"zscaling" calibrates, and ``test.csv``. ``predictions.csv`` and ``times.json`` are
written beside them.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import torch
from chemprop_peer import call

# Task type, number of members.
MODES = {"ensemble": ("regression", 5), "mve": ("regression-mve", 1)}


def run(folder: Path, mode: str, seed: int) -> None:
    """Train, calibrate and predict."""
    table = pd.read_csv(folder / "train.csv", nrows=1)
    targets = [name for name in table if name not in ("smiles", "split")]
    kind, n_members = MODES[mode]
    fit = call(
        *("train", "--data-path", folder / "train.csv", "--smiles-columns", "smiles"),
        *("--target-columns", *targets, "--splits-column", "split"),
        *("--task-type", kind, "--ensemble-size", n_members),
        *("--pytorch-seed", seed, "--output-dir", folder / "model"),
    )
    models = sorted((folder / "model").glob("model_*/best.pt"))
    predict = call(
        *("predict", "--test-path", folder / "test.csv", "--smiles-columns", "smiles"),
        *("--cal-path", folder / "val.csv"),
        *("--uncertainty-method", mode, "--calibration-method", "zscaling"),
        *("--model-paths", *models, "--output", folder / "predictions.csv"),
    )
    times = {"fit_seconds": fit, "predict_seconds": predict}
    (folder / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
