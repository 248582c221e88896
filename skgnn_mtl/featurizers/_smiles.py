"""SMILES and RDKit molecules to graphs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl.graphs import GraphArray, GraphSchema

from ._base import GraphTransformer
from ._binary import MoleculeTable
from ._columns import AtomColumn, BondColumn
from ._complaints import RowError
from ._descriptors import Described, molecular_descriptors, table_of
from ._molecules import check_molecule, read_tables
from ._presets import PRESETS
from ._rows import (
    canonical_smiles,
    keep_properties_in_pickles,
    portable,
    rdkit,
    why_unreadable,
)
from ._stereo import with_labels


class SmilesToGraph(GraphTransformer):
    """Molecules as graphs: one node per heavy atom, two directed edges per bond.

    Nothing is repaired: salts stay one graph of several components, charges and
    tautomers stay as written, hydrogens are nodes only where RDKit keeps them
    (isotopes, ``[H][H]``, hydrides). Nodes are in the parser's order; edges ``2b`` and
    ``2b + 1`` are the two directions of bond ``b``, so that ``e ^ 1`` is the reverse of
    edge ``e``.

    Parameters
    ----------
    features : {"ogb", "pyg", "hu2020", "chemprop"} or tuple, default="ogb"
        What is read from atoms and bonds; integers codes, see Notes. A tuple
        ``(atom_columns, bond_columns)`` of :class:`AtomColumn` and
        :class:`BondColumn` objects gives own features.
    stereo : {"tags", "cip"}, default="tags"
        What columns of chiral tags, bond stereo and bond directions hold. "tags" are
        RDKit's, as published; they depend on the order of the atoms. "cip" are labels
        of Cahn, Ingold and Prelog, which do not; see Notes.
    descriptors : None, "rdkit2d", list of str or callable, default=None
        Numbers of the whole molecule, which become ``graph_features``: all descriptors
        of ``rdkit.Chem.Descriptors.descList``, some of them by name, or those of a
        function; see Notes.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a row that is missing or that RDKit cannot read, for whatever
        reason: raise at the first one, or keep it as an empty graph marked invalid,
        with one warning.
    n_jobs : int, default=None
        Number of processes, as everywhere in scikit-learn; -1 uses all cores. Chunks
        of about 1000 rows (100 with descriptors) are sent to them, through any backend
        of joblib. New workers import this package first, which takes seconds: they pay
        from some 50,000 molecules on (some 2,000 with "rdkit2d"), or once they are
        there.
    verbose : "auto", bool or int, default="auto"
        "auto" shows a bar over rows in a terminal or notebook after 5 s; 1 at once.

    Attributes
    ----------
    n_features_in_ : int
        Number k of columns of strings.
    feature_names_in_ : ndarray of str of shape (k,)
        Names of these columns, if ``fit`` saw a table.

    See Also
    --------
    skgnn_mtl.graphs.GraphArray : What comes out.
    AtomColumn : One feature of an atom.

    Notes
    -----
    Values outside a vocabulary have a code, and never raise. The sets of columns are

    ``"ogb"``
        9 atom and 3 bond columns of the Open Graph Benchmark [1]_, with its codes.
        Atropisomer tags, which the original refuses, become "no stereo".
    ``"pyg"``
        The same columns with the vocabularies of torch-geometric's ``from_smiles``.
        Values that the original refuses are clipped.
    ``"hu2020"``
        The 2 + 2 columns of the weights published with [2]_. ``*`` and bonds of other
        types, which the original refuses, become code 118 and a single bond.
    ``"chemprop"``
        The atoms and bonds of chemprop 2 [3]_: one-hot expanded in order, followed by
        the mass (u / 100, a float), they are its 72 and 14 numbers except for slots
        that are all-zero there or here: the slots "not aromatic", "other bond type",
        "not conjugated" and "not in a ring" are extra, "no bond" is missing.

    The schema of own columns has a checksum of names, accessors, vocabularies and
    scales: a model that was fitted on some refuses the others. Functions do not count.

    **Stereo.** Chiral tags say whether the neighbours of an atom turn clockwise *in the
    order in which they are written*, and bond directions how a bond is written. Two
    SMILES of one molecule may then have other codes and other predictions, unless the
    molecules are brought into one order (``Chem.CanonSmiles``). With ``stereo="cip"``
    these columns hold labels instead: of atoms none, R, S, r, s; of bonds none, unknown
    (marked as such), Z, E, z, e, P, M, p, m; each list has a code for others. They do
    not depend on the order, so that one molecule has one prediction. The name of the
    schema then ends with "cip"; published weights know tags only.

    **Molecule objects** are taken as they are; unsanitized ones, patterns (SMARTS) and
    atoms heavier than 118 are invalid. Pickles of RDKit leave out properties of atoms
    and bonds, which functions of own columns and descriptors may read. The first such
    function therefore makes pickles of molecules complete, in the whole process
    (through ``copyreg``), so that ``n_jobs`` and ``Pipeline(memory=...)`` see what
    matters. A cache knows functions by name: empty it after you change one.

    **Descriptors** are RDKit's values for the molecule without explicit hydrogens, as
    if it was read from its SMILES. A value is NaN where RDKit fails, where it is
    infinite or beyond single precision (``Ipc`` of large molecules), and where the
    molecule has so many atoms that RDKit takes minutes: above 500 for ``Ipc`` and
    ``AvgIpc``, above 1000 for ``BCUT2D``, E-state, ``BalabanJ`` and ``BertzCT``, above
    5000 for all. An invalid graph has NaN.

    A function of descriptors takes a copy of the molecule. It returns a mapping of
    name -> number, a sequence of numbers or one number, always of the same length. It
    is called for ethane first, to learn the names. Its infinities become NaN, and its
    errors are errors of the transformation, for any ``on_error``.

    **Several molecules.** A table of k columns, such as solute and solvent, gives one
    graph for each row, with the atoms of the first column first. A further node column,
    "molecule" with codes 0 to k - 1, tells them apart, so that the order of the columns
    matters. Descriptors are those of each molecule, named ``molecule0_...``. A row is
    invalid if one of its molecules is. The identifier is that of the mixture: the
    SMILES, joined by dots. The name of the schema ends with "k molecules"; published
    weights are for single molecules.

    **Strings.** What follows a blank is a name. Letters outside of ASCII, further lines
    and numbers that RDKit would cut off (a charge of 999) make a row invalid, and so do
    more than 6000 letters, because RDKit's time grows with the square of the atoms.

    A reading with most columns named (rather than functions) costs little more than
    RDKit's parser.

    References
    ----------
    .. [1] Hu et al., "Open Graph Benchmark: Datasets for Machine Learning on Graphs",
       NeurIPS 2020.
    .. [2] Hu et al., "Strategies for Pre-training Graph Neural Networks", ICLR 2020.
    .. [3] Heid et al., "Chemprop: A Machine Learning Package for Chemical Property
       Prediction", J. Chem. Inf. Model. 64, 9 (2024).

    Examples
    --------
    >>> from skgnn_mtl.featurizers import SmilesToGraph
    >>> X = SmilesToGraph().transform(["CCO", "c1ccccc1", "[Na+].[Cl-]"])
    >>> X
    GraphArray(3 graphs, 11 nodes, 16 edges, 'ogb')
    >>> X[0].x[:, 0]  # atomic numbers, less one
    tensor([5, 5, 7])
    >>> X[0].edge_index
    tensor([[0, 1, 1, 2],
            [1, 0, 2, 1]])

    Own columns:

    >>> from skgnn_mtl.featurizers import AtomColumn, BondColumn
    >>> def is_short(bond):
    ...     return bond.GetBondTypeAsDouble() > 1
    >>> atoms = (
    ...     AtomColumn("element", "GetSymbol", ("C", "N", "O")),
    ...     AtomColumn("mass", "GetMass", scale=0.01),
    ... )
    >>> bonds = (BondColumn("is_short", is_short, (False, True)),)
    >>> X = SmilesToGraph(features=(atoms, bonds)).transform(["CC=[Se]"])
    >>> X.node_codes.ravel(), X.edge_codes.ravel()
    (array([0, 0, 3], dtype=uint8), array([0, 0, 1, 1], dtype=uint8))

    Descriptors beside the graph:

    >>> X = SmilesToGraph(descriptors=["TPSA", "RingCount"]).transform(["c1ccccc1O"])
    >>> X.schema.graph_features, X.graph_features
    (('TPSA', 'RingCount'), array([[20.23,  1.  ]], dtype=float32))
    """

    _reads: ClassVar[str] = "SMILES"
    _joins_columns: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GraphTransformer._parameter_constraints,
        "features": [StrOptions(set(PRESETS)), tuple],
        "stereo": [StrOptions({"tags", "cip"})],
        "descriptors": [None, StrOptions({"rdkit2d"}), list, tuple, callable],
    }

    def __init__(
        self,
        features: str | tuple[Sequence[AtomColumn], Sequence[BondColumn]] = "ogb",
        *,
        stereo: str = "tags",
        descriptors: str | Sequence[str] | Callable[[Any], Any] | None = None,
        on_error: str = "raise",
        n_jobs: int | None = None,
        verbose: int | bool | str = "auto",
    ) -> None:
        self.features = features
        self.stereo = stereo
        self.descriptors = descriptors
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.verbose = verbose
        if callable(descriptors):
            # Here, because a cache of a pipeline hashes molecules before fit is called,
            # and the function may read properties that pickles leave out.
            with suppress(ImportError):  # RDKit is asked for at use
                keep_properties_in_pickles()

    def _featurize(self, rows: list[Any]) -> GraphArray:
        if self.descriptors is None:
            return self._read(rows)[0]
        chosen = molecular_descriptors(self.descriptors)
        graphs, at, described = self._read(rows, chosen.describe)
        values = table_of(described, at, (len(rows), len(chosen.names)))
        return graphs.with_features(values, chosen.names)

    def _read(
        self, rows: list[Any], describe: Callable[[Any], Described] | None = None
    ) -> tuple[GraphArray, list[int], list[Described]]:
        """Make graphs; list the readable rows and what describes them."""
        columns = self._columns()
        schema = self._schema(*columns)
        parts, readable = [], np.zeros(len(rows), dtype=bool)
        found: list[int] = []
        all_described: list[Described] = []
        for at, table, described in read_tables(rows, *columns, describe):
            found += at.tolist()
            all_described += described
            ids = [_identifier(rows[i]) for i in at]
            parts.append((at, _graphs(at, table, ids, schema, *columns)))
            readable[at] = True
        if not readable.all() or not parts:
            at = np.flatnonzero(~readable)
            parts.append((at, _invalid_graphs([rows[i] for i in at], schema)))
        graphs = parts[0][1]
        if len(parts) > 1:
            order = np.argsort(np.concatenate([at for at, _ in parts]))
            graphs = GraphArray.concatenate([graphs for _, graphs in parts])[order]
        return graphs, found, all_described

    def _explain(self, row: Any) -> str:
        atoms, bonds = self._columns()
        return why_unreadable(row, lambda mol: check_molecule(mol, atoms, bonds))

    def _portable(self, rows: list[Any]) -> list[Any]:
        return portable(rows)

    def _columns(self) -> tuple[Sequence[AtomColumn], Sequence[BondColumn]]:
        atoms, bonds = self._columns_of_tags()
        if self.stereo == "cip":
            return with_labels(atoms), with_labels(bonds)
        return atoms, bonds

    def _columns_of_tags(self) -> tuple[Sequence[AtomColumn], Sequence[BondColumn]]:
        if isinstance(self.features, str):
            return PRESETS[self.features]
        if len(self.features) != 2:
            raise ValueError(
                "features must be the name of a preset or a pair (atom columns, bond "
                f"columns), but has {len(self.features)} entries."
            )
        chem = rdkit()
        sample = chem.MolFromSmiles("CC")
        _check_columns(self.features[0], AtomColumn, sample.GetAtomWithIdx(0))
        _check_columns(self.features[1], BondColumn, sample.GetBondWithIdx(0))
        return self.features

    def _schema(
        self, atom_columns: Sequence[AtomColumn], bond_columns: Sequence[BondColumn]
    ) -> GraphSchema:
        return GraphSchema(
            self._name_of_columns(atom_columns, bond_columns),
            node_columns=tuple((c.name, c.size) for c in _categorical(atom_columns)),
            edge_columns=tuple((c.name, c.size) for c in _categorical(bond_columns)),
            node_features=tuple(c.name for c in _continuous(atom_columns)),
            edge_features=tuple(c.name for c in _continuous(bond_columns)),
            paired_edges=True,
        )

    def _name_of_columns(self, *columns: Sequence[AtomColumn | BondColumn]) -> str:
        """Name what codes and numbers mean: graphs of other columns must not mix."""
        if isinstance(self.features, str):
            return self.features if self.stereo == "tags" else f"{self.features} cip"
        meaning = [
            (c.name, _accessor(c), [str(word) for word in c.words], c.outside, c.scale)
            for kind in columns
            for c in kind
        ]
        return f"custom {zlib.crc32(repr(meaning).encode()):08x}"


def _accessor(column: AtomColumn | BondColumn) -> str:
    # A function has no name that lasts.
    return column.getter if isinstance(column.getter, str) else ""


def _check_columns(
    columns: Any, kind: type[AtomColumn] | type[BondColumn], sample: Any
) -> None:
    """Refuse anything but columns of one kind whose accessors work on a sample."""
    owner = type(sample).__name__
    if not isinstance(columns, (list, tuple)):
        raise TypeError(
            f"features must hold two sequences of columns, but one of them is "
            f"{columns!r}."
        )
    for column in columns:
        if not isinstance(column, kind):
            raise TypeError(f"features: {column!r} is not of type {kind.__name__}.")
        if not isinstance(column.getter, str):
            continue
        if not hasattr(sample, column.getter):
            raise ValueError(
                f"Column {column.name!r}: RDKit's {owner} has no method "
                f"{column.getter!r}."
            )
        try:
            getattr(sample, column.getter)()
        except TypeError as error:
            raise ValueError(
                f"Column {column.name!r}: {column.getter!r} of RDKit's {owner} needs "
                "arguments; pass a function that gives them."
            ) from error
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise ValueError(f"The names of columns must differ, but are {names}.")


def _categorical(columns: Sequence[Any]) -> list[Any]:
    return [column for column in columns if column.is_categorical]


def _continuous(columns: Sequence[Any]) -> list[Any]:
    return [column for column in columns if not column.is_categorical]


def _identifier(row: Any) -> str:
    return row if isinstance(row, str) else canonical_smiles(row)


def _graphs(
    at: np.ndarray,
    table: MoleculeTable,
    ids: list[str],
    schema: GraphSchema,
    atom_columns: Sequence[AtomColumn],
    bond_columns: Sequence[BondColumn],
) -> GraphArray:
    """Encode what was read of some molecules, which are the rows ``at``."""
    where = _Places(at, table.n_atoms, "atom")
    node_codes, node_features = _encode(atom_columns, table.atoms, where)
    where = _Places(at, table.n_bonds, "bond")
    bond_codes, bond_features = _encode(bond_columns, table.bonds, where)
    there, back = table.ends, table.ends[::-1]
    return GraphArray(
        schema,
        n_nodes=table.n_atoms,
        n_edges=2 * table.n_bonds,
        node_codes=node_codes,
        node_features=node_features,
        edge_index=np.stack([there, back], axis=2).reshape(2, -1),
        edge_codes=_both_directions(bond_codes),
        edge_features=_both_directions(bond_features),
        ids=ids,
    )


class _Places(NamedTuple):
    """Where the values of a column come from."""

    rows: np.ndarray
    n_parts: np.ndarray
    kind: str

    def error(self, k: int, problem: str, reason: str = "") -> RowError:
        """Make the error of value ``k``."""
        ends = np.cumsum(self.n_parts)
        molecule = int(np.searchsorted(ends, k, side="right"))
        part = k - int(ends[molecule] - self.n_parts[molecule])
        return RowError(
            int(self.rows[molecule]), f"{problem} at {self.kind} {part}", reason
        )


def _encode(
    columns: Sequence[AtomColumn | BondColumn], values: dict[Any, Any], where: _Places
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Give codes and floats of some columns; None where there are none."""

    def side_by_side(chosen: list[Any]) -> np.ndarray | None:
        parts = [_encode_one(column, values[column.getter], where) for column in chosen]
        return np.stack(parts, axis=1) if parts else None

    return side_by_side(_categorical(columns)), side_by_side(_continuous(columns))


def _encode_one(
    column: AtomColumn | BondColumn, values: Any, where: _Places
) -> np.ndarray:
    try:
        encoded = column.encode(values)
    except Exception:
        _refuse_value(column, values, where)
        raise
    if not column.is_categorical and not np.isfinite(encoded).all():
        k = int(np.argmin(np.isfinite(encoded)))
        raise where.error(
            k,
            f"Column {column.name!r} must hold finite numbers, but holds {values[k]!r}",
        )
    return encoded


def _refuse_value(column: AtomColumn | BondColumn, values: Any, where: _Places) -> None:
    """Raise for the first value that cannot be encoded."""
    for k, value in enumerate(values):
        try:
            column.encode([value])
        except Exception as error:
            raise where.error(
                k,
                f"Column {column.name!r} cannot hold {value!r}",
                f"{type(error).__name__}: {error}",
            ) from error


def _both_directions(bonds: np.ndarray | None) -> np.ndarray | None:
    return None if bonds is None else np.repeat(bonds, 2, axis=0)


def _invalid_graphs(rows: list[Any], schema: GraphSchema) -> GraphArray:
    zeros = np.zeros(len(rows), dtype=np.int64)
    strings = [row if isinstance(row, str) else "" for row in rows]
    return GraphArray(
        schema,
        n_nodes=zeros,
        n_edges=zeros,
        node_codes=np.empty((0, len(schema.node_columns))),
        node_features=np.empty((0, len(schema.node_features))),
        edge_codes=np.empty((0, len(schema.edge_columns))),
        edge_features=np.empty((0, len(schema.edge_features))),
        # Half of a surrogate pair is one of the reasons to be unreadable.
        ids=[string.encode(errors="replace").decode() for string in strings],
        valid=zeros.astype(bool),
    )
