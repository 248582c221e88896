"""CIF files and other descriptions of crystals to graphs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl._component import Numbers
from skgnn_mtl.graphs import GraphArray, GraphSchema

from ._base import GraphTransformer
from ._cif_reader import read_crystal
from ._composition import crystal_descriptors
from ._crystal import Crystal, UnreadableCrystal, gemmi
from ._descriptors import table_of
from ._elements import Table, default_table, read_table
from ._neighbors import Neighbors, find_neighbors


class CifToGraph(GraphTransformer):
    """Crystals as graphs: one node per site of the unit cell, edges to neighbours.

    A directed edge runs from each neighbour to its centre and carries their distance in
    Å; edges are sorted by centre, then by distance. An image of an atom in another cell
    is a neighbour like any other. Nothing is repaired: cells stay as they are given,
    symmetry is applied as the file states it.

    Parameters
    ----------
    cutoff : float, default=8.0
        Largest distance of a neighbour, in Å. An atom that has none within it keeps its
        node without an edge, with one warning per call.
    max_neighbors : int or None, default=12
        Number of nearest neighbours of an atom; None takes all within the cutoff.
    ties : {"shell", "cut"}, default="shell"
        What happens at the last neighbour. "shell" keeps all that are as near as the
        last one, to 1e-3 Å, so that the graph does not depend on the order of the
        atoms, nor on the choice of the cell. "cut" keeps exactly ``max_neighbors``, in
        the order of distance, atomic number and displacement; published CGCNN weights
        need it.
    disorder : {"raise", "majority", "mix"}, default="raise"
        Sites of partial occupancy are unreadable, or the most abundant element (which
        may be the vacancy) takes the place, or the rows of the element table are
        averaged, weighted with the occupancies. Parts nearer than 0.5 Å share a place:
        "majority" keeps the position of the largest part, "mix" takes their mean.
    symmetrize : bool, default=False
        Add the reverse of each edge that lacks it: that a is a neighbour of b
        does not imply the converse if neighbours are counted.
    element_table : path-like or None, default=None
        Features of the elements: a JSON object of atomic number -> list of numbers, or
        the default table (see Notes). An element without a row is unreadable.
    block : str or None, default=None
        Name of the data block to read. By default a file must have exactly one with
        sites; others are ignored.
    descriptors : None, "composition" or callable, default=None
        Numbers of the whole crystal, which become ``graph_features``: statistics of
        the elements with density and volume, or those of a function; see Notes.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the distances, and of the network that is trained on them.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a row that is missing or unreadable: raise at the first one, or
        keep it as an empty graph marked invalid, with one warning.
    n_jobs : int, default=None
        Number of processes, as everywhere in scikit-learn; -1 uses all cores. It pays
        where cores are free: two running processes took 0.53 times the time of one for
        9,000 small crystals, and 1.1 times where one core was busy. To start them takes
        seconds.
    verbose : "auto", bool or int, default="auto"
        "auto" shows a bar over rows in a terminal or notebook after 5 s; 1 at once.

    Attributes
    ----------
    n_features_in_ : int
        1, the column of structures.
    feature_names_in_ : ndarray of shape (1,)
        Name of that column, if ``fit`` saw a table.

    See Also
    --------
    skgnn_mtl.encoders.CGCNN : A network for such graphs.
    skgnn_mtl.model_selection.composition_groups : Groups for cross-validation.

    Notes
    -----
    A row is CIF text, a path (or a string without line break, which is read as one), a
    pymatgen ``Structure`` or ASE ``Atoms``. Items of a CIF that are written wrongly are
    left out if they do not concern the cell, the sites or the symmetry. A file may be
    compressed with gzip, in UTF-8, UTF-16, UTF-32 or Latin-1, and must be a regular one
    of at most 256 MiB after decompression. Other formats are named and refused.

    Operations listed in a file, also magnetic ones, outrank the setting of its Hall
    symbol, its name and its number, in this order. A name or number without operations
    means its first origin, unless it says otherwise ("F d -3 m :2" or "F d -3 m Z"),
    and the axes that fit the cell, so that "R -3 m" may be rhombohedral. All statements
    must agree in the type of the group and in its crystal family; the identity alone
    says that all atoms are listed, whatever the name. So does a file without any item
    of symmetry: it is read as P 1, unless multiplicities of its sites say otherwise.
    A group that is stated as unknown ("?") is unreadable, and so are operations that
    are not a group, or that change lengths of the cell by more than 0.5 % or angles by
    more than 0.3 degrees, and modulated structures. Angles that are not stated are 90.
    ASE ``Atoms`` may lack vectors of the cell in directions without periodicity.

    Unreadable are, too: several blocks with sites, missing coordinates or cells, full
    sites closer than 0.5 Å, and cells whose search would list more than 10 million
    pairs, or boxes of space to look for them.

    All policies for disorder read the same species. Ions and isotopes are elements. Va,
    Vac, Vc and "□" are the empty part of a site. OH, OH2, H2O and Ow are the oxygen of
    hydroxyl or water; their hydrogen atoms are not added. Shares such as Fe0.5Co0.5 are
    disorder. Other groups (NO3), mixtures (Fe/Co) and dummies (X) are unreadable. Sites
    without a type symbol are read by their label if it has one reading, such as "Na1",
    "Ow1" or "HA"; or if ``_chemical_formula_sum`` leaves one and the amounts agree.
    An occupancy of "." or "?" is 1. Occupancies beyond 0 and 1 are unreadable, except
    by 0.01 and their standard uncertainty, and so are sums above 1.02 at one place.
    Sites of occupancy 0 and with the flag "dum" are left out. An atom that lies within
    0.3 Å of its own image (0.1 Å if it is there half the time or less) is one atom at
    their mean, as 0.333 for 1/3. With "majority" disorder groups are kept or left out
    as a whole, and of two halves of one element nearer than 1 Å the first is kept.

    The node code is the atomic number; ``schema.node_table`` holds one row of features
    for each. The default table has group, period, block, electronegativity, covalent
    radius, valence electrons, ionisation energy, electron affinity and molar volume of
    the elements 1 to 103 (``data/elements.csv``, sources in ``data/make_elements.py``).

    "composition" describes the crystal by ten properties of its elements: atomic
    number, mass (u), group, period, electronegativity, covalent radius (Å), valence
    electrons, ionisation energy, electron affinity (eV) and molar volume (cm3/mol).
    There are the mean and the standard deviation, weighted with the numbers of atoms,
    minimum, maximum and range of each; the number of elements; the density (g/cm3) and
    the volume per atom (Å^3), which are NaN without periodicity. Partial occupancies
    count as parts with ``disorder="mix"``; with "majority" the filled places count. A
    property that one element lacks is NaN, and an invalid graph has NaN everywhere. A
    function takes a pymatgen ``Structure`` with the sites of the graph and returns a
    mapping of name -> number, a sequence of numbers or one number, always of the same
    length. It is called for CsCl first, to learn the names. Its infinities become NaN,
    and its errors are errors of the transformation, for any ``on_error``.

    References
    ----------
    .. [1] T. Xie, J. C. Grossman, "Crystal Graph Convolutional Neural Networks for an
       Accurate and Interpretable Prediction of Material Properties", Phys. Rev. Lett.
       120, 145301 (2018).

    Examples
    --------
    >>> from skgnn_mtl import CifToGraph
    >>> cesium_chloride = '''data_CsCl
    ... _cell_length_a 4.12
    ... _cell_length_b 4.12
    ... _cell_length_c 4.12
    ... _cell_angle_alpha 90
    ... _cell_angle_beta 90
    ... _cell_angle_gamma 90
    ... loop_
    ... _atom_site_label
    ... _atom_site_type_symbol
    ... _atom_site_fract_x
    ... _atom_site_fract_y
    ... _atom_site_fract_z
    ... Cs1 Cs+ 0 0 0
    ... Cl1 Cl- 0.5 0.5 0.5
    ... '''
    >>> X = CifToGraph().transform([cesium_chloride])
    >>> X  # eight neighbours at 3.57 Å and six at 4.12 Å
    GraphArray(1 graphs, 2 nodes, 28 edges, 'crystal cutoff=8.0 max_neighbors=12 shell')
    >>> X.ids[0], X.node_codes.ravel()
    ('CsCl', array([55, 17], dtype=uint8))
    """

    _reads: ClassVar[str] = "crystal"
    _accepts_paths: ClassVar[bool] = True
    _warns_of_isolated_nodes: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GraphTransformer._parameter_constraints,
        "cutoff": [Numbers(Real, 0, None, closed="neither")],
        "max_neighbors": [None, Numbers(Integral, 1, None, closed="left")],
        "ties": [StrOptions({"shell", "cut"})],
        "disorder": [StrOptions({"raise", "majority", "mix"})],
        "symmetrize": ["boolean"],
        "element_table": [None, str, PathLike],
        "block": [None, str],
        "descriptors": [None, StrOptions({"composition"}), callable],
        "dtype": [StrOptions({"float32", "float64"})],
    }

    def __init__(
        self,
        *,
        cutoff: float = 8.0,
        max_neighbors: int | None = 12,
        ties: str = "shell",
        disorder: str = "raise",
        symmetrize: bool = False,
        element_table: str | PathLike[str] | None = None,
        block: str | None = None,
        descriptors: str | Callable[[Any], Any] | None = None,
        dtype: str = "float32",
        on_error: str = "raise",
        n_jobs: int | None = None,
        verbose: int | bool | str = "auto",
    ) -> None:
        self.cutoff = cutoff
        self.max_neighbors = max_neighbors
        self.ties = ties
        self.disorder = disorder
        self.symmetrize = symmetrize
        self.element_table = element_table
        self.block = block
        self.descriptors = descriptors
        self.dtype = dtype
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.verbose = verbose

    def transform_schema(self) -> GraphSchema:
        """Tell the columns of the graphs that ``transform`` makes.

        Returns
        -------
        schema : GraphSchema
            Depends on the parameters only.
        """
        self._validate_params()
        schema = self._schema(self._table()[0])
        if self.descriptors is None:
            return schema
        names = crystal_descriptors(self.descriptors).names
        return replace(schema, graph_features=names)

    def _featurize(self, rows: list[Any]) -> GraphArray:
        gemmi()  # complains if it is missing
        table, known = self._table()
        graphs = [self._graph_or_none(row, known) for row in rows]
        read = [graph for graph in graphs if graph is not None]
        n_nodes = [0 if g is None else len(g[0].numbers) for g in graphs]
        n_edges = [0 if g is None else len(g[1].source) for g in graphs]
        nodes = _node_columns([crystal for crystal, _ in read], table, self.disorder)
        ends = [np.stack([near.source, near.target]) for _, near in read]
        array = GraphArray(
            self._schema(table),
            n_nodes=n_nodes,
            n_edges=n_edges,
            **nodes,
            edge_index=np.concatenate([np.empty((2, 0), dtype=int), *ends], axis=1),
            edge_features=np.concatenate(
                [np.empty(0), *(near.distance for _, near in read)]
            )[:, None],
            ids=["" if g is None else _identifier(g[0].name) for g in graphs],
            valid=[g is not None for g in graphs],
        )
        if self.descriptors is None:
            return array
        chosen = crystal_descriptors(self.descriptors)
        described = [chosen.describe(crystal) for crystal, _ in read]
        shape = len(rows), len(chosen.names)
        values = table_of(described, np.flatnonzero(array.valid), shape)
        return array.with_features(values, chosen.names)

    def _explain(self, row: Any) -> str:
        try:
            self._graph(row, self._table()[1])
        except UnreadableCrystal as error:
            return str(error)
        return "it was unreadable a moment ago, but is readable now; try again"

    def _graph_or_none(
        self, row: Any, known: frozenset[int]
    ) -> tuple[Crystal, Neighbors] | None:
        if row is None:
            return None
        try:
            return self._graph(row, known)
        except UnreadableCrystal:
            return None

    def _graph(self, row: Any, known: frozenset[int]) -> tuple[Crystal, Neighbors]:
        crystal = read_crystal(row, disorder=self.disorder, block=self.block)
        _check_elements(crystal, known)
        return crystal, self._neighbors(crystal)

    def _neighbors(self, crystal: Crystal) -> Neighbors:
        try:
            return find_neighbors(
                crystal.lattice,
                crystal.positions,
                crystal.numbers,
                periodic=crystal.periodic,
                cutoff=float(self.cutoff),
                max_neighbors=self.max_neighbors,
                ties=self.ties,
                symmetrize=self.symmetrize,
            )
        except (UnreadableCrystal, ImportError, MemoryError):
            raise
        except ValueError as error:
            raise UnreadableCrystal(str(error)) from error
        # Whatever the libraries behind it raise concerns this row alone.
        except Exception as error:
            raise UnreadableCrystal(f"{type(error).__name__}: {error}") from error

    def _table(self) -> tuple[Table, frozenset[int]]:
        if self.element_table is None:
            table = default_table()
            return table, frozenset(range(1, len(table)))
        return read_table(self.element_table)

    def _schema(self, table: Table) -> GraphSchema:
        # All that changes the columns: graphs made otherwise must not be mixed.
        name = f"crystal cutoff={float(self.cutoff)} max_neighbors={self.max_neighbors}"
        name += f" {self.ties}" + " symmetrized" * self.symmetrize
        nodes: dict[str, Any] = {
            "node_columns": (("element", len(table)),),
            "node_table": table,
        }
        if self.disorder == "mix":
            # The rows are in the graphs; a number stands for the table they are from.
            name += f" mix of table {zlib.crc32(repr(table).encode()):08x}"
            names = tuple(f"element_{k}" for k in range(len(table[0])))
            nodes = {"node_features": names}
        return GraphSchema(name, edge_features=("distance",), dtype=self.dtype, **nodes)


def _identifier(name: str) -> str:
    # Half of a surrogate pair may be in a broken name.
    return name.encode(errors="replace").decode()


def _check_elements(crystal: Crystal, known: frozenset[int]) -> None:
    found = set(crystal.numbers.tolist()).union(*(crystal.species or ()))
    if not found <= known:
        symbols = ", ".join(gemmi().Element(z).name for z in sorted(found - known))
        raise UnreadableCrystal(f"the element table has no row for {symbols}")


def _node_columns(
    crystals: list[Crystal], table: Table, disorder: str
) -> dict[str, np.ndarray]:
    """Give atomic numbers as codes, or the rows of the table themselves, mixed."""
    numbers = [crystal.numbers for crystal in crystals]
    codes = np.concatenate([np.empty(0, dtype=np.int64), *numbers])
    if disorder != "mix":
        return {"node_codes": codes[:, None]}
    rows = np.array(table)
    features = rows[codes]
    starts = np.cumsum([0, *map(len, numbers)])
    for start, crystal in zip(starts, crystals, strict=False):
        for k, site in enumerate(crystal.species or ()):
            features[start + k] = sum(part * rows[z] for z, part in site.items())
    return {"node_features": features}
