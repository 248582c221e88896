"""Records of gradients and solvers over an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skgnn_mtl._overlap import overlap_of_counts
from skgnn_mtl._warn import warn
from skgnn_mtl.weighting import SolverReport, relate_to_target

from ._distributed import ALONE, World


class GradientMonitor:
    """Collection of the records of gradient evaluations, and their means per epoch."""

    def __init__(self) -> None:
        self.n_failures = self.n_solutions = 0
        # Rows with the labels of both tasks of a pair, (t, t).
        self._common: Tensor | None = None
        self._reset()

    def _reset(self) -> None:
        self._conflicts: list[float] = []
        self._ratios: list[float] = []
        self._reports: list[SolverReport] = []
        self._target_norms: list[float] = []
        # Cosine with the target and length, per auxiliary task and evaluation.
        self._auxiliaries: dict[int, list[tuple[float, float]]] = {}

    def note(self, gramian: Tensor, report: SolverReport | None) -> None:
        """Record the Gramian (t, t) of a step and the report of its solution."""
        G = gramian.detach().cpu()
        squares = G.diagonal()
        # A vanished gradient has no angle and would make the ratio infinite.
        if len(G) > 1 and bool((squares > 0).all()):
            upper = torch.triu_indices(len(G), len(G), offset=1)
            self._conflicts.append(float((G[upper[0], upper[1]] < 0).double().mean()))
            self._ratios.append(float((squares.max() / squares.min()).sqrt()))
        if report is not None:
            self._reports.append(report)
            self.n_solutions += 1
            self.n_failures += not report.converged

    def note_auxiliaries(
        self, gramian: Tensor, anchor: Tensor, tasks: Tensor | None
    ) -> None:
        """Record cosines and lengths of auxiliary gradients relative to the target.

        Parameters
        ----------
        gramian : Tensor of shape (t, t)
            Inner products of the gradients of the present tasks.
        anchor : Tensor of shape (t,)
            Weights that pool the targets, 0 for auxiliary tasks.
        tasks : Tensor of int64 of shape (t,) or None
            Positions of these tasks; None stands for all.
        """
        relation = relate_to_target(gramian, anchor)
        if relation is None:
            return
        self._target_norms.append(relation.target_norm)
        where = range(len(gramian)) if tasks is None else tasks.tolist()
        columns = (relation.auxiliary, relation.cosines, relation.norms)
        for task, is_auxiliary, cosine, norm in zip(where, *columns, strict=True):
            if is_auxiliary:
                self._auxiliaries.setdefault(task, []).append((cosine, norm))

    def note_labels(self, labelled: Tensor, world: World = ALONE) -> None:
        """Record which tasks of a batch have labels, bool (n_graphs, n_tasks)."""
        M = labelled.double()
        common = world.sum(M.t() @ M)
        self._common = common if self._common is None else self._common + common

    def end_epoch(self) -> dict[str, Any]:
        """Summarise the epoch; empty without an evaluation of gradients."""
        summary: dict[str, Any] = {}
        if self._conflicts:
            summary["conflict_share"] = float(np.mean(self._conflicts))
            # A median, because a gradient that almost vanishes would dominate a mean.
            summary["norm_ratio"] = float(np.median(self._ratios))
        if self._auxiliaries:
            tables = {k: np.array(v) for k, v in sorted(self._auxiliaries.items())}
            # Without vanished gradients, which have a length but no angle.
            cosines = {k: table[table[:, 1] > 0, 0] for k, table in tables.items()}
            summary["target_norm"] = float(np.mean(self._target_norms))
            summary["norms"] = {k: float(v[:, 1].mean()) for k, v in tables.items()}
            summary["cosines"] = {k: _mean(v) for k, v in cosines.items()}
            summary["conflict_shares"] = {k: _mean(v < 0) for k, v in cosines.items()}
        if self._reports:
            reports = self._reports
            summary["solver"] = {
                "calls": len(reports),
                "worst_residual": max(r.residual for r in reports),
                "iterations": sum(r.n_iter for r in reports),
                "failures": sum(not r.converged for r in reports),
                "stationary": sum(r.stationary for r in reports),
                "flips": sum(r.flipped for r in reports),
            }
        self._reset()
        return summary

    def end_fit(self, name: str) -> None:
        """Warn, once per fit, of solvers that did not converge."""
        if self.n_failures:
            warn(
                f"The solver of {name} did not converge in {self.n_failures} of "
                f"{self.n_solutions} steps; the residuals are in history_. Its last "
                "iterate was used. Check for nearly parallel gradients of opposite "
                "sign, or try another task_weighting.",
                ConvergenceWarning,
            )
        if self._common is None:
            return
        # The pair of tasks with the fewest labels in common decides. A task that had
        # no label in training (NaN) has none in common with the others.
        shares = overlap_of_counts(self._common.cpu().numpy())
        share = float(np.nan_to_num(shares).min())
        if share < 0.3:
            warn(
                f"Two tasks share the labels of only {share:.0%} of their graphs. "
                "gradients='representation' does not show conflicts between tasks "
                "without graphs in common, only the lengths of their gradients. That "
                "is enough for methods that balance lengths; for others, use "
                "gradients='parameters'.",
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what the warnings at the end of the fit depend on."""
        counts = [self.n_failures, self.n_solutions]
        return {"counts": counts, "common": self._common}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`, which was taken between two epochs."""
        self.n_failures, self.n_solutions = state["counts"]
        self._common = state["common"]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
