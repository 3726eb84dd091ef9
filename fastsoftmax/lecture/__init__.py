"""The lecture's own functions and classes, over the backends of this package.

The names, arguments and results are those of the course notebooks (the linear classifiers of cs231n
and of dlcourse.ai), so that a notebook runs on this module with nothing changed but its imports::

    from fastsoftmax.lecture import Softmax, grad_check_sparse, softmax_loss_vectorized
    import fastsoftmax.lecture as linear_classifer

Shapes: `X` (n_samples, n_features), `W` (n_features, n_classes), labels from 0 to n_classes - 1. The
loss is the mean over the samples, and the penalty is ``reg * sum(W**2)`` with the gradient
``2 * reg * W``. `SoftmaxClassifier` and `fastsoftmax.search` define it as scikit-learn does, as
``alpha / 2 * sum(coef_**2)``, so that ``alpha = 2 * reg``. Training draws from NumPy's global
generator: ``np.random.seed`` reproduces a notebook.
"""

from ..backends import get_backend
from .classifiers import LinearClassifier, LinearSoftmaxClassifier, Softmax
from .data import load_CIFAR10, load_svhn, multiclass_accuracy, random_split_train_val
from .gradients import check_gradient, eval_numerical_gradient, grad_check_sparse
from .losses import (
    cross_entropy_loss,
    l2_regularization,
    linear_softmax,
    softmax,
    softmax_loss_compiled,
    softmax_loss_naive,
    softmax_loss_numba,
    softmax_loss_vectorized,
    softmax_with_cross_entropy,
)
from .svm import LinearSVM, svm_loss_naive, svm_loss_vectorized

__all__ = [
    "LinearClassifier",
    "LinearSVM",
    "LinearSoftmaxClassifier",
    "Softmax",
    "check_gradient",
    "cross_entropy_loss",
    "eval_numerical_gradient",
    "grad_check_sparse",
    "l2_regularization",
    "linear_softmax",
    "load_CIFAR10",
    "load_svhn",
    "multiclass_accuracy",
    "random_split_train_val",
    "softmax",
    "softmax_loss_compiled",
    "softmax_loss_naive",
    "softmax_loss_numba",
    "softmax_loss_vectorized",
    "softmax_with_cross_entropy",
    "svm_loss_naive",
    "svm_loss_vectorized",
]

get_backend()  # loads the compiled backend, for which the first call would have to wait
