"""Pictures of a training run: loss curves, speed, learned weights, confusion matrices.

Every function takes plain numbers or a fitted model and returns a `matplotlib.figure.Figure` with no
global state behind it: nothing is shown, and it works without a display. Save one with its method
``savefig``; matplotlib is imported when a function is called.
"""

from .bench import plot_bench
from .confusion import plot_confusion_matrix
from .curves import plot_loss_curve, plot_loss_curves
from .history import TrainingHistory
from .reliability import plot_reliability
from .roofline import plot_roofline
from .search import plot_search
from .speed import plot_speed
from .templates import plot_templates
from .weights import plot_weights

__all__ = [
    "TrainingHistory",
    "plot_bench",
    "plot_confusion_matrix",
    "plot_loss_curve",
    "plot_loss_curves",
    "plot_reliability",
    "plot_roofline",
    "plot_search",
    "plot_speed",
    "plot_templates",
    "plot_weights",
]
