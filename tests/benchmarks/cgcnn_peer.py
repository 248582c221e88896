"""The original CGCNN's way, restated by us: its data code, loader and network.

pymatgen parses the CIF and lists all neighbours within 8 Å as Python objects; the first
twelve by distance are kept, and each distance is stored as 41 Gaussians. The network
computes on a dense array (atoms, 12, features). What is restated is what is computed
and how it is organised.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch
from pymatgen.core import Structure
from torch import nn
from torch.nn import functional as F

RADIUS, N_NEIGHBORS = 8.0, 12
CENTERS = np.arange(0, RADIUS + 0.2, 0.2)


def element_features(path) -> dict[int, np.ndarray]:
    with open(path) as file:
        rows = json.load(file)
    return {int(z): np.array(row, dtype=float) for z, row in rows.items()}


def neighbors(text: str):
    """Parse a CIF; atomic numbers, neighbour indices and distances (n, 12)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = Structure.from_str(text, fmt="cif")
    found = structure.get_all_neighbors(RADIUS, include_index=True)
    found = [sorted(near, key=lambda one: one[1])[:N_NEIGHBORS] for near in found]
    index = np.array([[one[2] for one in near] for near in found])
    distance = np.array([[one[1] for one in near] for near in found])
    return [site.specie.number for site in structure], index, distance


def featurize(text: str, elements: dict[int, np.ndarray]):
    """Three tensors of a crystal: (n, 92), (n, 12, 41), (n, 12)."""
    numbers, index, distance = neighbors(text)
    gaussians = np.exp(-((distance[..., None] - CENTERS) ** 2) / 0.2**2)
    atoms = np.vstack([elements[z] for z in numbers])
    return torch.Tensor(atoms), torch.Tensor(gaussians), torch.LongTensor(index)


def collate(rows):
    """Join crystals: shift the indices of each by the atoms before it."""
    atoms, gaussians, index, members, targets, start = [], [], [], [], [], 0
    for (a, g, i), y in rows:
        atoms.append(a)
        gaussians.append(g)
        index.append(i + start)
        members.append(torch.LongTensor(np.arange(len(a)) + start))
        targets.append(y)
        start += len(a)
    return (
        torch.cat(atoms),
        torch.cat(gaussians),
        torch.cat(index),
        members,
        torch.stack(targets),
    )


def loader(rows, targets, batch_size, *, shuffle=True, generator=None):
    """Make a data loader over featurized crystals, all in memory."""
    data = list(zip(rows, torch.Tensor(targets), strict=True))
    return torch.utils.data.DataLoader(
        data,
        batch_size=batch_size,
        shuffle=shuffle,
        collate_fn=collate,
        generator=generator,
    )


class Convolution(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc_full = nn.Linear(2 * width + len(CENTERS), 2 * width)
        self.bn1 = nn.BatchNorm1d(2 * width)
        self.bn2 = nn.BatchNorm1d(width)

    def forward(self, v, u, index):
        n, m = index.shape
        center = v[:, None, :].expand(n, m, v.shape[1])
        z = self.fc_full(torch.cat([center, v[index], u], dim=2))
        z = self.bn1(z.view(n * m, -1)).view(n, m, -1)
        gate, core = z.chunk(2, dim=2)
        total = (torch.sigmoid(gate) * F.softplus(core)).sum(dim=1)
        return F.softplus(v + self.bn2(total))


class OriginalCGCNN(nn.Module):
    """The published architecture with its names; ``n_tasks`` outputs."""

    def __init__(self, n_features=92, width=64, n_conv=3, hidden=128, n_tasks=1):
        super().__init__()
        self.embedding = nn.Linear(n_features, width)
        self.convs = nn.ModuleList(Convolution(width) for _ in range(n_conv))
        self.conv_to_fc = nn.Linear(width, hidden)
        self.fc_out = nn.Linear(hidden, n_tasks)

    def forward(self, atoms, gaussians, index, members):
        v = self.embedding(atoms)
        for conv in self.convs:
            v = conv(v, gaussians, index)
        pooled = torch.cat([v[rows].mean(dim=0, keepdim=True) for rows in members])
        return self.fc_out(F.softplus(self.conv_to_fc(F.softplus(pooled))))


def published(path) -> tuple[OriginalCGCNN, float, float]:
    """Load a published checkpoint: network, mean and standard deviation."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    model = OriginalCGCNN(n_conv=4, hidden=32)
    state = content["state_dict"]
    model.load_state_dict(state, strict=False)
    assert set(state) <= set(model.state_dict())
    scale = content["normalizer"]
    return model.eval(), float(scale["mean"]), float(scale["std"])
