"""Progress bars, which by default appear only in a terminal or a notebook."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

# A wait that needs no bar, in seconds.
_SHORT = 5.0


def progress_bar(verbose: Any, *, total: int | None, **options: Any) -> Any:
    """Make a progress bar.

    Parameters
    ----------
    verbose : "auto", bool or int
        "auto" shows the bar after five seconds if :func:`is_watched`, and clears it at
        its end; others show it always or never.
    total : int or None
        Number of steps.
    **options : object
        Of tqdm, such as ``desc`` and ``unit``.

    Returns
    -------
    bar : tqdm
        With ``update``, ``set_postfix`` and ``close``; a context manager.
    """
    # Here, because the bars of notebooks take long to import.
    from tqdm.auto import tqdm

    if verbose == "auto":
        options |= {"disable": not is_watched(), "delay": _SHORT, "leave": False}
    else:
        options |= {"disable": not verbose}
    return tqdm(total=total, **options)


def is_watched() -> bool:
    """Tell whether this process writes to a terminal or a notebook.

    Returns
    -------
    answer : bool
        False in worker processes, whose bars would overwrite each other.
    """
    if multiprocessing.current_process().name != "MainProcess":
        return False
    return _is_terminal(sys.stderr) or _is_notebook()


def _is_terminal(stream: Any) -> bool:
    # There may be no stream, for instance in a service.
    return stream is not None and bool(stream.isatty())


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    # The shell of notebooks has a kernel, that of a terminal has none.
    return hasattr(shell, "kernel")
