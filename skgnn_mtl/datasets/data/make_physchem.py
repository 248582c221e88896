"""Cut ``physchem.csv.gz`` from the table ``chemicals_multitask.csv.gz``.

``python make_physchem.py SOURCE`` writes the sample beside this script. SOURCE joins
the property tables of the Python package chemicals 1.5.2, one row a molecule.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = {
    "Tb_K": "Tb (K)",
    "Tm_K": "Tm (K)",
    "Tflash_K": "Tflash (K)",
    "rho_kg_m3": "rho (kg/m3)",
    "RI": "RI",
    "Hvap298_J_mol": "Hvap298 (J/mol)",
    "logP": "logP",
    "permittivity": "log10 permittivity",
}
RICH = 5  # labels, out of eight
N_EACH = 1000


def cut(source: pd.DataFrame) -> pd.DataFrame:
    """Draw 1,000 molecules with five to eight labels and 1,000 with one to four.

    A plain random draw would leave the sparse properties without enough labels; the
    label-rich molecules alone would have hardly a gap.
    """
    table = source[["smiles", *COLUMNS]].rename(columns=COLUMNS)
    # Six decimals keep every digit that the permittivities were given with.
    table["log10 permittivity"] = np.log10(table["log10 permittivity"]).round(6)
    n_labels = table.drop(columns="smiles").notna().sum(axis=1)
    rich = table[n_labels >= RICH].sample(N_EACH, random_state=0)
    poor = table[n_labels.between(1, RICH - 1)].sample(N_EACH, random_state=0)
    # Shuffled, because a K-fold split without shuffling takes rows in file order.
    return pd.concat([rich, poor]).sample(frac=1, random_state=0, ignore_index=True)


def main(path: str) -> None:
    """Read the source table and write the sample."""
    source = pd.read_csv(path, keep_default_na=False, na_values=[""])
    cut(source).to_csv(
        Path(__file__).with_name("physchem.csv.gz"),
        index=False,
        lineterminator="\n",
        compression={"method": "gzip", "compresslevel": 9, "mtime": 0},
    )


if __name__ == "__main__":
    main(sys.argv[1])
