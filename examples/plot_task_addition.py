"""
Scarce properties beside rich ones
==================================

Most molecules have a boiling or a melting point; few have a flash point or a
permittivity. A network of GATE is trained on the properties with many labels, saved,
and loaded again. Then the scarce ones are added, one after the other: only small maps
of their own are trained, and the predictions of all earlier properties stay the same to
the last bit. In the end one pipeline predicts all of them from SMILES.

The small learning curve of the flash point compares the addition with a network that is
trained on the flash point alone. It is one split of a small sample: whether properties
help each other depends on them, so that it is worth asking for your own with
:func:`~skgnn_mtl.model_selection.compare_transfer`, as here.
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline

from skgnn_mtl import GATERegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.inspection import TransferComparisonDisplay
from skgnn_mtl.model_selection import compare_transfer

RICH = ["Tb (K)", "Tm (K)", "rho (kg/m3)", "RI"]
SCARCE = ["Tflash (K)", "log10 permittivity"]
# Small maps for a small sample.
SIZES = {
    "latent_dim": 16,
    "encoder_hidden_dims": (32,),
    "transfer_hidden_dims": (16,),
    "head_hidden_dims": (16,),
}


def grow(smiles, y, max_epochs, add_task_steps):
    """Train on the rich properties, save, load, and add the scarce ones."""
    featurizer = SmilesToGraph("chemprop")
    X = featurizer.fit_transform(smiles)
    model = GATERegressor(
        DMPNN(64), **SIZES, lr=3e-3, max_epochs=max_epochs, random_state=0
    )
    model.fit(X, y[RICH])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sources.pt"
        model.save(path)
        model = GATERegressor.load(path)
    before = model.predict(X)
    model.set_params(add_task_steps=add_task_steps)
    for name in SCARCE:
        # A Series has a name, and the task gets it. Molecules without a label help.
        model.add_task(X, y[name])
    same = np.array_equal(model.predict(X)[:, : len(RICH)], before)
    print(f"Predictions of {', '.join(RICH)} are bit for bit as before: {same}")
    return make_pipeline(featurizer, model)


def main(n_molecules=1000, max_epochs=25, steps=150, path="task_addition.png"):
    smiles, y = load_physchem(return_X_y=True)
    y = y[RICH + SCARCE]
    labelled = np.flatnonzero(y.notna().any(axis=1))[:n_molecules]
    smiles, y = smiles.iloc[labelled], y.iloc[labelled]
    pipeline = grow(smiles, y, max_epochs, steps)
    names = pipeline[-1].task_names_
    for molecule, values in zip(
        ["CCCCO", "CC(C)=O"], pipeline.predict(["CCCCO", "CC(C)=O"]), strict=True
    ):
        told = ", ".join(
            f"{name} {value:.4g}" for name, value in zip(names, values, strict=True)
        )
        print(f"{molecule}: {told}")
    comparison = compare_transfer(
        pipeline[0].transform(smiles),
        y,
        sources=RICH,
        targets=["Tflash (K)"],
        sizes=(25, 50, 100),
        cv=ShuffleSplit(1, test_size=0.3, random_state=0),
        methods=["single-task", "addition", "addition-unlabelled"],
        encoder=DMPNN(64),
        parameters={"lr": 3e-3},
        gate_parameters=SIZES,
        source_steps=4 * max_epochs,
        target_steps=steps,
        random_states=(0, 1),
    )
    print(comparison.summary().round(3).to_string())
    display = TransferComparisonDisplay.from_comparison(comparison)
    display.figure_.savefig(path, dpi=100)
    return pipeline, comparison


if __name__ == "__main__":
    main()
