"""Write ``elements.csv``, the properties behind the default element table.

``python make_elements.py`` writes the table beside this script. Sources, all facts:

* group, period, block, electron configuration: the periodic table in pymatgen-core;
* electronegativity: Pauling's scale, as listed in pymatgen-core;
* first ionisation energy (eV): NIST Atomic Spectra Database, as listed there;
* electron affinity (eV): measured, where negative or unbound computed values, as listed
  there;
* molar volume (cm3/mol) of the element at room temperature, as listed there;
* covalent radius (Å): B. Cordero et al., Dalton Trans. 2832 (2008), elements 1 to 96,
  as listed in gemmi (low-spin values for Mn, Fe and Co).

Valence electrons are counted from the configuration: all outside the noble-gas core,
without a filled d shell below p electrons and without a filled f shell below d or p
electrons. An empty field is a value that was not tabulated.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import gemmi
import pandas as pd
from pymatgen.core import Element

LAST = 103  # pymatgen's properties end there
LAST_RADIUS = 96


def valence_electrons(configuration: str) -> int:
    """Count valence electrons of a configuration such as [Ar].3d6.4s2."""
    shells = re.findall(r"\d([spdf])(\d+)", configuration.split("]")[-1])
    count = dict.fromkeys("spdf", 0)
    for shell, electrons in shells:
        count[shell] += int(electrons)
    if count["f"] == 14 and (count["d"] or count["p"]):
        count["f"] = 0
    if count["d"] == 10 and count["p"]:
        count["d"] = 0
    return sum(count.values())


def number(value: Any) -> float:
    """Read a number, NaN where there is none."""
    return math.nan if value in (None, "no data", "") else float(value)


def row(z: int) -> dict[str, Any]:
    """Properties of one element."""
    element = Element.from_Z(z)
    radius = gemmi.Element(z).covalent_r if z <= LAST_RADIUS else math.nan
    known_x = element.data.get("X") is not None
    return {
        "Z": z,
        "symbol": element.symbol,
        "group": element.group,
        "period": element.row,
        "block": element.block,
        "electronegativity": element.X if known_x else math.nan,
        "covalent_radius": round(radius, 2),
        "valence_electrons": valence_electrons(element.electronic_structure),
        "ionization_energy": number(element.ionization_energies[0]),
        "electron_affinity": number(element.data.get("Electron affinity")),
        "molar_volume": number(element.data.get("Molar volume")),
    }


def main() -> None:
    """Write the table."""
    table = pd.DataFrame([row(z) for z in range(1, LAST + 1)])
    table.to_csv(
        Path(__file__).with_name("elements.csv"),
        index=False,
        float_format="%.6g",
        lineterminator="\n",
    )


if __name__ == "__main__":
    main()
