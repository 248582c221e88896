"""Cut ``elasticity.csv.gz`` from the table ``elastic_tensor.csv``.

``python make_elasticity.py SOURCE`` writes the sample beside this script. SOURCE is the
table that the Python package matminer 0.3.9 shipped: 1,181 crystals of the Materials
Project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

TARGETS = {
    "K_VRH": "K_VRH (GPa)",
    "G_VRH": "G_VRH (GPa)",
    "poisson_ratio": "poisson_ratio",
    "elastic_anisotropy": "elastic_anisotropy",
}
N_ROWS = 600


def cut(source: pd.DataFrame) -> pd.DataFrame:
    """Draw 600 crystals at random; the file's order is that of the formulas."""
    names = {"structure": "cif", **TARGETS}
    columns = ["material_id", "formula", "space_group", *names]
    table = source[columns].rename(columns=names)
    return table.sample(N_ROWS, random_state=0, ignore_index=True)


def main(path: str) -> None:
    """Read the source table and write the sample."""
    # The first line is a citation; "NaN" is sodium nitride.
    source = pd.read_csv(path, skiprows=1, keep_default_na=False, na_values=[""])
    cut(source).to_csv(
        Path(__file__).with_name("elasticity.csv.gz"),
        index=False,
        lineterminator="\n",
        compression={"method": "gzip", "compresslevel": 9, "mtime": 0},
    )


if __name__ == "__main__":
    main(sys.argv[1])
