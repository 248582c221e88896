"""Several processes that train one network: who they are, and what they sum.

Each process holds all rows and the whole network, and computes its part of each batch.
What is a mean over the batch is summed over the processes before anything is decided:
label masses, losses, and gradients. Every process then makes the same step as a single
process would make, within rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from skgnn_mtl._flat import flatten, unflatten
from skgnn_mtl.graphs import GraphBatch, Labels

Value = TypeVar("Value")
# Variables by which launchers tell the number of processes: torchrun, then MPI.
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
# Relative difference of the networks of two processes that rounding does not explain.
_LARGEST_DRIFT = 1e-3


class LostProcess(RuntimeError):
    """Another process of a training failed, or did not answer in time."""


class World:
    """The processes that train one network together.

    Without a group it is a single process, in which all sums are the values themselves.

    Parameters
    ----------
    rank : int, default=0
        Position of this process.
    size : int, default=1
        Number of processes.
    group : torch.distributed.ProcessGroup, optional
        Carries the values between them.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.training import World
    >>> World().sum(torch.ones(2))
    tensor([1., 1.])
    """

    def __init__(
        self, rank: int = 0, size: int = 1, group: dist.ProcessGroup | None = None
    ) -> None:
        self.rank, self.size, self._group = rank, size, group

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    def __deepcopy__(self, memo: Any) -> World:
        # A copy of a network that is in training has the same world.
        return self

    def require_alone(self, what: str) -> None:
        """Refuse what several processes cannot compute as one would.

        Parameters
        ----------
        what : str
            The parameter, with its value.

        Raises
        ------
        NotImplementedError
            If there are other processes.
        """
        if not self.is_alone:
            raise NotImplementedError(
                f"data_parallel cannot train with {what}, which needs more than sums "
                "over a batch. Choose another one, or fit in one process."
            )

    # -- what is summed -----------------------------------------------------------

    def sum(self, part: Tensor) -> Tensor:
        """Sum the tensors of all processes, without a graph."""
        return part if self.is_alone else self.sum_(part.detach().clone())

    def sum_(self, part: Tensor) -> Tensor:
        """Sum the tensors of all processes in place, without a graph."""
        if not self.is_alone:
            self._call(dist.all_reduce, part)
        return part

    def sum_parts(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Sum several tensors in one message."""
        if self.is_alone or not parts:
            return parts
        return unflatten(self.sum_(flatten(parts, parts)), parts)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients that the parameters have.

        A parameter has none afterwards if no process has one, because the optimizer
        then leaves it alone.
        """
        if self.is_alone:
            return
        leaves = [p for p in parameters if p.requires_grad]
        has = [float(p.grad is not None) for p in leaves]
        found = flatten([p.grad for p in leaves], leaves)
        total = self.sum_(torch.cat([found, found.new_tensor(has)]))
        parts = unflatten(total[: len(found)], leaves)
        for p, part, n in zip(leaves, parts, total[len(found) :].tolist(), strict=True):
            p.grad = part if n else None

    def any(self, flags: Tensor) -> Tensor:
        """Tell for each flag whether it is set in any process."""
        return flags if self.is_alone else self.sum(flags.int()) > 0

    def mean(self, values: Tensor) -> Tensor:
        """Average the entries of the tensors of all processes."""
        if self.is_alone:
            return values.mean()
        sizes = torch.tensor(values.numel(), device=values.device)
        return self.sum(values.sum()) / self.sum(sizes)

    # -- what is the same in all --------------------------------------------------

    def share(self, value: Value) -> Value:
        """Take the value of the main process, for instance a seed."""
        return self.gather(value)[0]

    def of_main(self, draws: Tensor) -> Tensor:
        """Take the random numbers that the main process has drawn."""
        return draws if self.is_alone else self.sum_(draws * int(self.is_main))

    def part_ways(self, n_epochs: int) -> None:
        """Let torch's generators draw other numbers in each process, after epochs."""
        # Because dropout must not draw the same masks for other graphs. The main
        # process draws as if it were alone.
        if not self.is_main:
            shift = self.rank + self.size * n_epochs
            torch.manual_seed(torch.initial_seed() + shift)

    def decide(self, function: Callable[[], Value]) -> Value:
        """Call a function in the main process, and take its result in all."""
        found = [function()] if self.is_main else []
        return self.gather(found)[0][0]

    def gather(self, value: Value) -> list[Value]:
        """List the values of all processes."""
        values: list[Any] = [value] * self.size
        if not self.is_alone:
            self._call(partial(dist.all_gather_object, values), value)
        return values

    def span(self, n_rows: int) -> tuple[int, int]:
        """Find where the rows of this process begin in the batch, and its size."""
        counts = self.gather(n_rows)
        return sum(counts[: self.rank]), sum(counts)

    def require_same(self, **values: Any) -> None:
        """Refuse values that differ between the processes.

        Raises
        ------
        ValueError
            Naming the first value that differs.
        """
        found = self.gather(values)
        for name in values:
            if any(other[name] != found[0][name] for other in found):
                raise ValueError(
                    f"All processes of a data-parallel fit need the same {name}, but "
                    f"process {self.rank} has another one. Read the same data in the "
                    "same order, and set random_state where rows are drawn."
                )

    def require_same_network(self, model: nn.Module) -> None:
        """Refuse networks that have drifted apart.

        Raises
        ------
        RuntimeError
            If their lengths differ by more than rounding.
        """
        if self.is_alone:
            return
        squares = [p.detach().double().square().sum() for p in model.parameters()]
        lengths = self.gather(float(torch.stack(squares).sum().sqrt()))
        if max(lengths) - min(lengths) > _LARGEST_DRIFT * max(lengths):
            raise RuntimeError(
                "The networks of the processes of a data-parallel fit have drifted "
                f"apart: their lengths are {lengths}. Do they have the same parameters "
                "and callbacks?"
            )

    # -- failures -----------------------------------------------------------------

    def _call(self, function: Callable[..., Any], *values: Any) -> None:
        if self._group is None:
            raise LostProcess(
                "This data-parallel fit has ended; begin a new one in all processes."
            )
        with _explained(self.rank, self.size):
            function(*values, group=self._group)

    def close(self) -> None:
        """Leave the others, who then stop waiting for this process at once."""
        if self._group is not None:
            group, self._group = self._group, None
            dist.destroy_process_group(group)


@contextmanager
def _explained(rank: int, size: int) -> Iterator[None]:
    """Say in words that another process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            f"Process {rank} of {size} lost another process of its data-parallel fit, "
            "which failed or did not answer in time. See the messages of the other "
            f"processes ({error})."
        ) from error


ALONE = World()


@dataclass(frozen=True)
class _Team:
    """Processes that a launcher has started."""

    rank: int
    size: int
    backend: str
    timeout: timedelta
    # A forked process has a copy of this object, but does not belong to the team.
    process: int


_TEAM: ContextVar[_Team | None] = ContextVar("team", default=None)


def data_parallel(
    *, cpu: bool = False, timeout: float = 600.0
) -> AbstractContextManager[World]:
    """Let all processes of a launcher train one network in each fit.

    Start a script by ``accelerate launch`` or ``torchrun``. Each process runs it, reads
    all data, and calls the same methods. In a fit each one computes its part of each
    batch, so that ``batch_size`` is that of all together. The fitted estimators are the
    same in all processes, and those of a single process within rounding; dropout draws
    other masks. Without a launcher there is one process, and nothing changes.

    Parameters
    ----------
    cpu : bool, default=False
        Whether to compute on CPUs, where there are other devices.
    timeout : float, default=600.0
        Seconds that a process waits for the others before it fails.

    Returns
    -------
    world : context manager
        Gives an object with ``rank``, ``size``, and ``is_main``: let the main process
        alone write files.

    Raises
    ------
    ImportError
        If there is a launcher, but accelerate is not installed.
    RuntimeError
        If accelerate does not find the processes of the launcher.

    See Also
    --------
    joblib.parallel_config : Many fits at a time, each in one process.

    Notes
    -----
    All processes must have the same data, parameters and seeds; labels and seeds are
    compared. A process that fails ends the fits of the others with an error. An
    interrupted fit leaves the estimator as it was. Auxiliary tasks, whose losses are no
    sums over graphs, raise ``NotImplementedError``; sharpness-aware optimizers and
    weightings that compare halves of a batch do, too.

    Examples
    --------
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph, data_parallel
    >>> X, y = SmilesToGraph().transform(["CCO", "CC", "CCC"]), [1.0, 2.0, 3.0]
    >>> with data_parallel(cpu=True) as world:
    ...     model = MultiTaskGNNRegressor(max_epochs=1).fit(X, y)
    ...     if world.is_main:
    ...         print(f"trained by {world.size} process(es)")
    trained by 1 process(es)
    """
    return _within(_find_team(cpu, timeout))


@contextmanager
def _within(team: _Team) -> Iterator[World]:
    token = _TEAM.set(team)
    try:
        yield World(team.rank, team.size)
    finally:
        _TEAM.reset(token)


def _find_team(cpu: bool, timeout: float) -> _Team:
    # Without a launcher a script must run where accelerate is not installed.
    n_wanted = max(int(os.environ.get(name, 1)) for name in _SIZES)
    if n_wanted == 1:
        return _Team(0, 1, "gloo", timedelta(), os.getpid())
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ImportError(
            "data_parallel needs accelerate: pip install accelerate."
        ) from error
    # Finds the address, the device and the backend, as any launcher states them.
    state = PartialState(cpu=cpu or not torch.cuda.is_available())
    if state.num_processes != n_wanted:
        # Each would train alone, and write the files of all.
        raise RuntimeError(
            f"The launcher started {n_wanted} processes, but accelerate found "
            f"{state.num_processes}. Call data_parallel before anything else of "
            "accelerate, or with the same cpu=."
        )
    gpu = state.num_processes > 1 and dist.get_backend() == "nccl"
    return _Team(
        state.process_index,
        state.num_processes,
        # Both, because masks and Gramians are on the CPU.
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        timedelta(seconds=timeout),
        os.getpid(),
    )


def _present_team() -> _Team | None:
    team = _TEAM.get()
    belongs = team is not None and team.size > 1 and team.process == os.getpid()
    return team if belongs else None


def is_main() -> bool:
    """Whether this process is the one that writes files."""
    team = _present_team()
    return team is None or team.rank == 0


@contextmanager
def joined() -> Iterator[World]:
    """Join the other processes for one fit; alone outside of :func:`data_parallel`.

    Yields
    ------
    world : World
        With a group of its own, so that after a failure the next fit can begin anew.
    """
    team = _present_team()
    if team is None:
        yield ALONE
        return
    with _explained(team.rank, team.size):
        group = dist.new_group(timeout=team.timeout, backend=team.backend)
    world = World(team.rank, team.size, group)
    # Only the world keeps it, because closing takes the last reference.
    del group
    try:
        yield world
    finally:
        world.close()


def gathered(
    world: World, graphs: GraphBatch, labels: Labels
) -> tuple[GraphBatch, Labels]:
    """Collect the parts of a batch from all processes.

    Parameters
    ----------
    world : World
        The processes.
    graphs, labels : GraphBatch, Labels
        Part of this process.

    Returns
    -------
    graphs, labels : GraphBatch, Labels
        The whole batch.
    """
    if world.is_alone:
        return graphs, labels
    parts = world.gather((graphs.to("cpu"), labels.to("cpu")))
    tables = [(part.targets, part.weights, *part.columns) for _, part in parts]
    targets, weights, *columns = (
        torch.cat(table) for table in zip(*tables, strict=True)
    )
    whole = GraphBatch.concatenate([part for part, _ in parts])
    return whole.to(graphs.device), Labels(targets, weights, tuple(columns))
