"""Arrays of other libraries, read where they lie."""

import jax.numpy as jnp
import numpy as np
import torch

from fastsoftmax import SoftmaxClassifier, softmax, softmax_cross_entropy


def test_arrays_of_jax():
    logits, labels = jnp.asarray([[1.0, 2, 3], [0, 0, 0]]), jnp.asarray([2, 0])
    loss, dlogits = softmax_cross_entropy(logits, labels)
    expected, gradient = softmax_cross_entropy(np.asarray(logits), np.asarray(labels))
    assert loss == expected
    np.testing.assert_array_equal(dlogits, gradient)


class OnlyDLPack:
    """What can be read by DLPack alone."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


def test_dlpack():
    tensor = torch.randn(4, 3)
    np.testing.assert_array_equal(softmax(OnlyDLPack(tensor)), softmax(tensor.numpy()))


def test_a_model_fits_tensors():
    X, y = torch.randn(30, 4), torch.arange(30) % 3
    ours = SoftmaxClassifier(max_iter=3, random_state=0).fit(X, y)
    theirs = SoftmaxClassifier(max_iter=3, random_state=0).fit(X.numpy(), y.numpy())
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
