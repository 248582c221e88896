"""Write the pinned answers of the peers, ``ogb_reference.npz`` and ``chemprop_...``.

Run in an environment with ogb 1.3.6, chemprop 2.3.1 and RDKit 2026.3; the tests then
need none of the peers. Every file holds the SMILES, the atoms and directed edges of
each molecule, and the features of all atoms and edges, one below the other, edges
sorted by source and target within a molecule.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent

_TEXT = """
C CC C=C C#C CO C=O CC(=O)O c1ccccc1 c1ccncc1 c1cc[nH]c1 c1ccoc1 c1ccsc1 C1CC1
C1CCCCC1 c1ccc2ccccc2c1 Cn1cnc2c1c(=O)n(C)c(=O)n2C CC(=O)Oc1ccccc1C(=O)O
CC(C)Cc1ccc(cc1)C(C)C(=O)O C1C2CC3CC1CC(C2)C3 C1CC2CCC1C2 C#N N#Cc1ccccc1
O=C=O CN=[N+]=[N-] C[N+](=O)[O-] CS(=O)(=O)C CS(C)=O CP(=O)(O)O
FC(F)(F)F ClC(Cl)Cl BrCCBr IC(I)I CB(O)O C[Si](C)(C)C C[Se]C C[As](C)C
C[Sn](C)(C)C FS(F)(F)(F)(F)F FP(F)(F)(F)F
C[C@H](F)Cl C[C@@H](F)Cl N[C@@H](C)C(=O)O F/C=C/F F/C=C\\F C/C=C/C=C\\C
OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O
[Na+].[Cl-] [NH4+].[Cl-] C[N+](C)(C)C [O-]c1ccccc1 [Fe+2] [Ca+2].[O-]C(=O)C
[Cu+2].[O-]S(=O)(=O)[O-] [Xe] [He] [U] [2H]C([2H])([2H])[2H] [13CH4] [H][H]
[CH3] [O] [O][O] C[CH2] *c1ccccc1 *C(=O)* CC[Mg]Br [NH3]->[Pt](Cl)Cl
[B-](F)(F)(F)F C[S+](C)C [I-] Clc1ccc(cc1)C(c1ccccc1)N1CCN(CC1)CCOCC(=O)O
CCOC(=O)N1CCC(=C2c3ccc(Cl)cc3CCc3cccnc23)CC1
"""
SMILES = _TEXT.split()


def save(name: str, graphs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Write atoms, edge index and edge features of all molecules."""
    sorted_graphs = []
    for atoms, index, edges in graphs:
        order = np.lexsort((index[1], index[0]))
        sorted_graphs.append((atoms, index[:, order], edges[order]))
    np.savez_compressed(
        FOLDER / f"{name}_reference.npz",
        smiles=np.array(SMILES),
        n_nodes=np.array([len(atoms) for atoms, _, _ in sorted_graphs]),
        n_edges=np.array([index.shape[1] for _, index, _ in sorted_graphs]),
        atoms=np.concatenate([atoms for atoms, _, _ in sorted_graphs]),
        edge_index=np.concatenate([i for _, i, _ in sorted_graphs], axis=1),
        edges=np.concatenate([edges for _, _, edges in sorted_graphs]),
    )


def ogb_graph(smiles: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from ogb.utils.mol import smiles2graph

    graph = smiles2graph(smiles)
    return (
        graph["node_feat"].astype(np.uint8),
        graph["edge_index"].astype(np.int32),
        graph["edge_feat"].astype(np.uint8),
    )


def chemprop_graph(smiles: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from chemprop import featurizers
    from chemprop.utils import make_mol

    featurize = featurizers.SimpleMoleculeMolGraphFeaturizer(
        featurizers.MultiHotAtomFeaturizer.v2()
    )
    graph = featurize(make_mol(smiles))
    return (
        np.asarray(graph.V, dtype=np.float32),
        np.asarray(graph.edge_index, dtype=np.int32),
        np.asarray(graph.E, dtype=np.uint8).reshape(-1, 14),
    )


if __name__ == "__main__":
    save("ogb", [ogb_graph(smiles) for smiles in SMILES])
    save("chemprop", [chemprop_graph(smiles) for smiles in SMILES])
