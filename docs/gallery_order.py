"""The order in which the gallery shows the examples."""

READING_ORDER = [
    "quickstart.py",
    "plot_crystals.py",
    "plot_models.py",
    "plot_splits.py",
    "plot_confidence.py",
    "plot_atoms.py",
    "plot_embedding.py",
    "plot_search.py",
    "plot_target_scales.py",
    "plot_sharing.py",
    "plot_conflicts.py",
    "plot_curvature.py",
    "plot_auxiliary.py",
    "plot_task_addition.py",
]


class ReadingOrder:
    """Sort key of Sphinx-Gallery, which makes it with the folder of the scripts."""

    def __init__(self, src_dir: str) -> None:
        self.src_dir = src_dir

    def __call__(self, filename: str) -> int:
        """Give the place of a script in the gallery."""
        return READING_ORDER.index(filename)

    def __repr__(self) -> str:
        return "ReadingOrder"
