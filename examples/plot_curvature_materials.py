"""
Curvature of the tasks on crystals with few common labels
=========================================================

Data sets of materials are joined from several sources: thousands of crystals have a
formation energy, some hundreds elastic moduli, and few have both. Does a task with few
labels curve otherwise, and do tasks without crystals in common share a direction? This
script asks the questions of ``plot_curvature_qm8.py`` of a crystal graph network. It
runs small, on some of the elasticity data that the package ships with a third of the
labels taken away, in about a minute;

    python examples/curvature_study.py mp FOLDER --data-home DATA
    python examples/plot_curvature_materials.py FOLDER

does it for formation energy, band gap, and bulk and shear modulus of Materials Project,
9,000 crystals of which most lack most labels.
"""

import sys

import matplotlib

matplotlib.use("Agg")

# %%
# The runs
# --------
# As for molecules, with one control more: ``equal label counts`` takes labels away at
# random until all tasks have as many as the rarest. What differs between tasks only
# because of the number of their labels is then gone. Four tasks are too few for a test
# of a correlation: the picture describes, its p-value cannot be small.
import numpy as np
from curvature_study import SMALL_CRYSTALS, Study, load
from plot_curvature_qm8 import main as draw

# %%
# Labels are scarce where they are expensive: of elastic properties that is nothing but
# our choice, since all of them follow from one tensor.


def small_study(folder, setting=SMALL_CRYSTALS):
    """Run one seed on shipped crystals, of which each property lacks some labels."""
    X, y = load("elasticity", setting)
    shares = np.linspace(0.1, 0.6, y.shape[1])
    missing = np.random.default_rng(0).random(y.shape) < shares
    missing[missing.all(axis=1), 0] = False
    Study(X, y.mask(missing), folder, setting).run(seed=0)


# %%
# What the pictures show
# ----------------------
# ``hessian_density`` and ``hessian_eigenvalues``: the spectrum of each task.
# ``hessian_pairs``: cosines of the gradients beside the share of common labels; a
# cosine of tasks with hardly a crystal in common rests on the network alone.
# ``ggn_history`` and ``dispersion``: when the tasks begin to differ, and what is left
# of it with equal counts, without meaning, and between two heads of one task.
# ``costs`` and ``weightings``: what sharing costs, and whether a rule helps.


def main(folder=None):
    """Draw everything from a folder, or from the small study."""
    return draw(folder, small_study)


if __name__ == "__main__":
    main(*sys.argv[1:2])
