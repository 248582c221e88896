"""Small crystals as CIF text, and what can be done to them without changing them."""

from __future__ import annotations

import warnings

import numpy as np

HEAD = """data_{name}
_cell_length_a {a}
_cell_length_b {b}
_cell_length_c {c}
_cell_angle_alpha {alpha}
_cell_angle_beta {beta}
_cell_angle_gamma {gamma}
"""


def cif(
    sites,
    cell=(4.0, 4.0, 4.0, 90.0, 90.0, 90.0),
    *,
    name="test",
    extra="",
    columns="label type_symbol fract_x fract_y fract_z occupancy",
):
    """CIF text; a site is a string such as 'Na1 Na+ 0 0 0 1'."""
    keys = ("a", "b", "c", "alpha", "beta", "gamma")
    text = HEAD.format(name=name, **dict(zip(keys, cell, strict=True))) + extra
    text += "loop_\n" + "".join(f"_atom_site_{c}\n" for c in columns.split())
    return text + "\n".join(sites) + "\n"


CESIUM_CHLORIDE = cif(
    ["Cs1 Cs+ 0 0 0 1", "Cl1 Cl- 0.5 0.5 0.5 1"],
    (4.12, 4.12, 4.12, 90, 90, 90),
    name="CsCl",
)
ROCK_SALT = cif(
    ["Na1 Na+ 0 0 0 1", "Cl1 Cl- 0.5 0.5 0.5 1"],
    (5.64, 5.64, 5.64, 90, 90, 90),
    name="NaCl",
    extra="_symmetry_space_group_name_H-M 'F m -3 m'\n",
)
# One atom in a primitive cell: all neighbours are its own images.
COPPER = cif(["Cu1 Cu 0 0 0 1"], (2.556, 2.556, 2.556, 60, 60, 60), name="Cu_primitive")
QUARTZ = cif(
    ["Si1 Si4+ 0.4697 0 0.66667 1", "O1 O2- 0.4133 0.2672 0.7855 1"],
    (4.916, 4.916, 5.4054, 90, 90, 120),
    name="quartz",
    extra="""_symmetry_space_group_name_H-M 'P 32 2 1'
loop_
_symmetry_equiv_pos_as_xyz
x,y,z
-y,x-y,z+2/3
-x+y,-x,z+1/3
y,x,-z
x-y,-y,-z+1/3
-x,-x+y,-z+2/3
""",
)
PEROVSKITE = cif(
    [
        "Ca1 Ca2+ 0.0067 0.0359 0.25 1",
        "Ti1 Ti4+ 0.5 0 0 1",
        "O1 O2- 0.5711 0.4839 0.25 1",
        "O2 O2- 0.2897 0.2888 0.0373 1",
    ],
    (5.3796, 5.4423, 7.6401, 90, 90, 90),
    name="CaTiO3",
    extra="_symmetry_space_group_name_H-M 'P b n m'\n",
)
ORDERED = {
    "CsCl": CESIUM_CHLORIDE,
    "NaCl": ROCK_SALT,
    "Cu": COPPER,
    "quartz": QUARTZ,
    "CaTiO3": PEROVSKITE,
}
N_SITES = {"CsCl": 2, "NaCl": 8, "Cu": 1, "quartz": 9, "CaTiO3": 20}


def structure_of(text):
    """Read a CIF with pymatgen, in its own way and without its remarks."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Structure.from_str(text, fmt="cif")


def random_rotation(seed=0):
    """A proper rotation, uniform enough."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def changes(structure, seed=0):
    """Other descriptions of one pymatgen Structure, by name."""
    from pymatgen.core import Lattice, Structure

    rng = np.random.default_rng(seed)
    lattice, species = structure.lattice.matrix, structure.species
    fractions = structure.frac_coords
    order = rng.permutation(len(species))
    shear = np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]])
    return {
        "rotated": Structure(
            Lattice(lattice @ random_rotation(seed)), species, fractions
        ),
        "shifted": Structure(lattice, species, fractions + rng.random(3)),
        "other images": Structure(
            lattice, species, fractions + rng.integers(-2, 3, fractions.shape)
        ),
        "re-ordered": Structure(lattice, [species[k] for k in order], fractions[order]),
        "other cell": Structure(
            Lattice(shear @ lattice), species, fractions @ np.linalg.inv(shear)
        ),
        "supercell": structure.copy().make_supercell([[2, 0, 0], [0, 1, 1], [0, 0, 1]]),
    }
