"""Inner products and cosines of vectors."""

import numpy as np
import torch

from skgnn_mtl._gram import cosines, gram


def test_a_gramian_of_single_precision_rows_is_exact_in_double_precision():
    # More columns than two blocks have, so that blocks are summed.
    J = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 40_000))).float()
    G = gram(J)
    assert G.dtype == torch.float64
    torch.testing.assert_close(G, J.double() @ J.double().T, rtol=1e-13, atol=1e-9)


def test_cosines_of_known_angles_and_nan_without_a_direction():
    angles = np.array([0.0, 1.0, 2.5])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[2.0], [1e-9], [3e9]]
    rows = np.concatenate([rows, np.zeros((1, 2))])
    norms = np.linalg.norm(rows, axis=1)
    expected = np.cos(angles[:, None] - angles)
    for lengths in ((norms[:, None], norms), (np.outer(norms, norms),)):
        found = cosines(rows @ rows.T, *lengths)
        np.testing.assert_allclose(found[:3, :3], expected, rtol=1e-12)
        assert np.isnan(found[3]).all()
        assert np.isnan(found[:, 3]).all()
