"""Sides of rows, or groups of rows, that give every task the labels it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

# How many moves of rows a wish is worth, and a row more or less on a side.
_WISH, _SIZE = 10.0, 1.5
# Up to so many rows or groups all are moved at once, which keeps sides' sizes best.
_SMALL = 200


def assign_sides(
    present: np.ndarray,
    drawn: np.ndarray,
    needs: Sequence[np.ndarray],
    seed: int,
    last: np.ndarray | None = None,
    wishes: np.ndarray | None = None,
) -> np.ndarray | None:
    """Change a draw in as few units as possible, so that tasks get what they need.

    Parameters
    ----------
    present : ndarray of bool of shape (n_units, n_tasks)
        Where units have labels.
    drawn : ndarray of int of shape (n_units,)
        Side of each unit in a random draw.
    needs : list of ndarray of bool of shape (n_tasks,)
        For each side: tasks that must have a label there. A side is never empty.
    seed : int
        Decides between equally good changes.
    last : ndarray of bool of shape (n_units,), optional
        Units that may be on the last side; all if not given.
    wishes : ndarray of bool of shape (n_tasks,), optional
        Tasks that should have a label on the last side if they can; all if not given.

    Returns
    -------
    sides : ndarray of int of shape (n_units,), or None
        The draw itself if nothing is wrong with it; None if it cannot be mended.
    """
    n_units, n_tasks = present.shape
    # One more column, which all units have, because no side may be empty.
    columns = np.column_stack([present, np.ones(n_units, dtype=bool)])
    must = np.column_stack([needs, np.ones(len(needs), dtype=bool)])
    spare = columns.sum(axis=0) - must.sum(axis=0)
    if (spare < 0).any():
        return None
    allowed = np.ones((len(needs), n_units), dtype=bool)
    if last is not None:
        allowed[-1] = last
    wish = np.zeros_like(must)
    wish[-1, :n_tasks] = True if wishes is None else wishes
    # One label cannot be on two sides.
    wish &= ~must & (spare > 0)
    lacking = (must | wish) & (_counts(columns, drawn, len(must)) == 0)
    if not lacking.any():
        return drawn
    # Another stream than that of the draw, because it is seeded by seed alone.
    rng = np.random.default_rng([seed, 1])
    # Slightly random, because the seed and not the position decides between ties.
    costs: Any = 1.0 + 0.1 * rng.random(n_units)
    # First the units with a scarce label alone, because the program is smaller.
    few: Any = columns[:, lacking.any(axis=0)].any(axis=1)
    every = np.ones_like(few)
    for free in (few, every) if n_units > _SMALL else (every,):
        sides = _repair(columns, drawn, must, wish, allowed, costs, free)
        if sides is not None:
            _restore_sizes(sides, drawn, columns, must | wish, allowed, rng)
            return sides
    return None


def _counts(columns: np.ndarray, sides: np.ndarray, n_sides: int) -> np.ndarray:
    """Count the labelled units of each task (n_sides, n_columns)."""
    return np.stack([columns[sides == side].sum(axis=0) for side in range(n_sides)])


def _repair(
    columns: np.ndarray,
    drawn: np.ndarray,
    must: np.ndarray,
    wish: np.ndarray,
    allowed: np.ndarray,
    costs: np.ndarray,
    free: np.ndarray,
) -> np.ndarray | None:
    """Solve for the sides of the free units, as an integer program.

    The variables are x[s, i] for the sides s behind the first, 1 if the free unit i is
    there; one for each wish, 1 if it is refused; and how many units more, and how many
    fewer than in the draw each of these sides has.
    """
    units, sides = np.flatnonzero(free), np.arange(len(must))
    needed = (must | wish) & (_counts(columns[~free], drawn[~free], len(sides)) == 0)
    n_refusals, n_sizes = int((needed & wish).sum()), 2 * (len(sides) - 1)
    x = np.arange((len(sides) - 1) * len(units)).reshape(len(sides) - 1, -1)
    shape = (x.size + n_refusals + n_sizes,)
    stays = drawn[units] == sides[:, None]
    # A move costs, and staying does not.
    price = costs[units] * (stays[0] - 1.0 * stays[1:])
    result = milp(
        np.r_[price.ravel(), np.full(n_refusals, _WISH), np.full(n_sizes, _SIZE)],
        integrality=np.arange(*shape) < x.size + n_refusals,
        bounds=Bounds(
            0,
            np.r_[allowed[1:, units].ravel(), np.ones(n_refusals), [np.inf] * n_sizes],
        ),
        constraints=[
            _labels_on_sides(columns[units], needed, wish, x, shape),
            *_one_side_each(x, stays[1:].sum(axis=1), shape),
        ],
        # Nearly the fewest moves are enough, because a proof of the fewest can take
        # long.
        options={"mip_rel_gap": 0.05},
    )
    if result.x is None:
        return None
    found = drawn.copy()
    # Rounded, because the solver returns floats.
    found[units] = sides[1:] @ np.round(result.x[x])
    return found


def _labels_on_sides(
    columns: np.ndarray,
    needed: np.ndarray,
    wish: np.ndarray,
    x: np.ndarray,
    shape: tuple[int],
) -> LinearConstraint:
    """Demand a label on each side that needs one, unless a wish is refused."""
    demands = np.argwhere(needed).tolist()
    table, low = lil_array((len(demands), *shape)), np.ones(len(demands))
    refusals = iter(range(x.size, *shape))
    for row, (side, column) in enumerate(demands):
        here = columns[:, column]
        if side:
            table[row, x[side - 1, here]] = 1.0
        else:  # not all of them are on other sides
            table[row, x[:, here].ravel()] = -1.0
            low[row] = 1 - here.sum()
        if wish[side, column]:
            table[row, next(refusals)] = 1.0
    return LinearConstraint(table.tocsr(), low, np.inf)


def _one_side_each(
    x: np.ndarray, sizes: np.ndarray, shape: tuple[int]
) -> tuple[LinearConstraint, LinearConstraint]:
    """Give each unit one side, and measure how far sizes are from those of the draw."""
    once = lil_array((x.shape[1], *shape))
    table = lil_array((len(x), *shape))
    for k, row in enumerate(x):
        once[np.arange(len(row)), row] = 1.0
        table[k, row] = 1.0
        more = shape[0] - 2 * (len(x) - k)
        table[k, more : more + 2] = -1.0, 1.0
    return (
        LinearConstraint(once.tocsr(), 0, 1),
        LinearConstraint(table.tocsr(), sizes, sizes),
    )


def _restore_sizes(
    sides: np.ndarray,
    drawn: np.ndarray,
    columns: np.ndarray,
    wanted: np.ndarray,
    allowed: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Move units back and forth, in place, until sides are as large as in the draw."""
    counts = _counts(columns, sides, len(wanted))
    for side in range(1, len(wanted)):
        surplus = int((sides == side).sum() - (drawn == side).sum())
        source, target = (side, 0) if surplus > 0 else (0, side)
        movable = (sides == source) & allowed[target]
        # In random order, because positions must not decide which rows train.
        for unit in rng.permutation(np.flatnonzero(movable)):
            if not surplus:
                break
            # A task may not lose its last label on a side that should have one.
            if (wanted[source] & columns[unit] & (counts[source] == 1)).any():
                continue
            sides[unit] = target
            counts[source] -= columns[unit]
            counts[target] += columns[unit]
            surplus -= 1 if source else -1
