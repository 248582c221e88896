"""Labels that tasks have in common."""

import numpy as np

from skgnn_mtl._overlap import label_overlap, overlap_of_counts


def test_overlap_is_the_share_of_rows_with_both_labels_among_those_with_either():
    labelled = np.zeros((6, 4), dtype=bool)
    labelled[:4, 0] = labelled[2:, 1] = labelled[5, 2] = True
    np.testing.assert_array_equal(
        label_overlap(labelled),
        [
            [1.0, 2 / 6, 0.0, np.nan],
            [2 / 6, 1.0, 1 / 4, np.nan],
            [0.0, 1 / 4, 1.0, np.nan],
            [np.nan] * 4,
        ],
    )


def test_counts_of_parts_add_up():
    labelled = np.random.default_rng(0).random((30, 3)) < 0.4
    counts = [part.T.astype(float) @ part for part in np.split(labelled, 3)]
    found = overlap_of_counts(sum(counts))
    np.testing.assert_array_equal(found, label_overlap(labelled))
