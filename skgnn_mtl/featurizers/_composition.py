"""Descriptors of what a crystal is made of, and how densely."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ._crystal import Crystal, gemmi, structure_of
from ._descriptors import Descriptors, Function, OwnDescriptors
from ._elements import NUMERIC_PROPERTIES, numeric_properties

_STATISTICS = ("mean", "std", "min", "max", "range")
_PROPERTIES = ("atomic_number", "atomic_mass", *NUMERIC_PROPERTIES)
_OTHERS = ("n_elements", "density", "volume_per_atom")
# One u per Å^3 in g/cm3.
_DENSITY_UNIT = 1.66053906892


class CompositionDescriptors:
    r"""Statistics of element properties, density and volume of a crystal.

    With the fraction :math:`x_z` of element z among the atoms and its property
    :math:`p_z`, the mean is :math:`m = \sum_z x_z p_z` and the standard deviation
    :math:`\sqrt{\sum_z x_z (p_z - m)^2}`; minimum, maximum and range are those over the
    elements. Atoms of partial occupancy count as parts.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers, property by property."""
        statistics = (f"{name}_{kind}" for name in _PROPERTIES for kind in _STATISTICS)
        return (*statistics, *_OTHERS)

    def describe(self, subject: Crystal) -> np.ndarray:
        """Compute the numbers.

        Parameters
        ----------
        subject : Crystal
            The sites as they are read.

        Returns
        -------
        values : ndarray of float64 of shape (n_names,)
            Density in g/cm3 and volume per atom in Å^3 are NaN if a direction is not
            periodic. All numbers of a property are NaN if one element lacks it.
        """
        numbers, amounts = _amounts(subject)
        properties = _table()[numbers]
        fractions = amounts / amounts.sum()
        mean = fractions @ properties
        spread = np.sqrt(fractions @ (properties - mean) ** 2)
        low, high = properties.min(axis=0), properties.max(axis=0)
        statistics = np.stack([mean, spread, low, high, high - low], axis=1)
        volume = abs(np.linalg.det(subject.lattice))
        if not all(subject.periodic):
            volume = np.nan
        mass = amounts @ properties[:, _PROPERTIES.index("atomic_mass")]
        others = (len(numbers), _DENSITY_UNIT * mass / volume, volume / amounts.sum())
        return np.concatenate([statistics.ravel(), others])


def _amounts(crystal: Crystal) -> tuple[np.ndarray, np.ndarray]:
    """Count the atoms of each element: atomic numbers and amounts, (n_elements,)."""
    sites = crystal.species or [{z: 1.0} for z in crystal.numbers.tolist()]
    numbers = [z for site in sites for z in site]
    shares = [share for site in sites for share in site.values()]
    counts = np.bincount(numbers, weights=shares)
    present = np.flatnonzero(counts > 0)
    return present, counts[present]


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """List the properties of all elements, shape (119, n_properties)."""
    numbers = np.arange(119.0)
    masses = [np.nan, *(gemmi().Element(z).weight for z in range(1, 119))]
    return np.column_stack([numbers, masses, numeric_properties(118)])


def crystal_descriptors(descriptors: str | Function) -> Descriptors:
    """Find what describes a crystal.

    Parameters
    ----------
    descriptors : "composition" or callable
        See ``CifToGraph``.

    Returns
    -------
    descriptors : CompositionDescriptors or OwnDescriptors
        With names.

    Raises
    ------
    ValueError
        If a function fails on cesium chloride.
    """
    if not callable(descriptors):
        return CompositionDescriptors()
    cell = 4.12 * np.eye(3)
    positions = np.stack([np.zeros(3), cell.sum(axis=0) / 2])
    sample = structure_of(Crystal("CsCl", cell, positions, np.array([55, 17])))
    return OwnDescriptors(descriptors, sample, "cesium chloride", structure_of)
