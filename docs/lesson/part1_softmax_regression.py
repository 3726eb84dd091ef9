# %% [markdown]
# # Part 1: softmax regression, from scores to templates
#
# You will build a classifier of handwritten digits from nothing but NumPy: scores, softmax,
# cross-entropy, its gradient, penalties, minibatch SGD, and a search for the hyper-parameters. At each
# step your code is compared with `fastsoftmax.lecture`, which has the functions of the course.
#
# **Exercises** are cells that end in `raise NotImplementedError`. Replace that line by your code; the
# cell below each of them checks it, and fails until it is right. Nothing later depends on your solution,
# so that you may skip one and come back. **Questions** have their answers hidden: think first, then
# click.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastsoftmax
from fastsoftmax import SoftmaxClassifier, lecture, plotting

# %% [markdown]
# ## The data
#
# 1797 images of 8 × 8 pixels, from 0 (white) to 16 (black). Pixels are divided by 16, and a column of
# ones is appended: its weights become the intercept of each class (the "bias trick"). Three sets: one to
# train on, one to choose hyper-parameters with, and one that is looked at once, in the end.

# %%
digits = load_digits()
images = digits.data / 16
X = np.hstack([images, np.ones((len(images), 1))])
X_rest, X_test, y_rest, y_test = train_test_split(
    X, digits.target, test_size=360, random_state=0, stratify=digits.target
)
X_train, X_val, y_train, y_val = train_test_split(
    X_rest, y_rest, test_size=360, random_state=0, stratify=y_rest
)
for name, samples in {"train": X_train, "validation": X_val, "test": X_test}.items():
    print(f"{name:>10}: {samples.shape}")

figure, places = plt.subplots(1, 10, figsize=(9, 1.2), layout="constrained")
for digit, place in enumerate(places):
    place.imshow(X_train[y_train == digit][0, :64].reshape(8, 8), cmap="gray_r")
    place.set(title=digit, xticks=[], yticks=[])

# %% [markdown]
# ## Scores
#
# A linear classifier gives each class $k$ a score, a weighted sum of the features:
# $z_k = \sum_j x_j W_{jk}$. For all samples together that is one matrix product, $Z = XW$: $X$ has shape
# $(n, d)$, $W$ has $(d, c)$, $Z$ has $(n, c)$. The class with the largest score is the prediction.

# %%
random = np.random.default_rng(0)
W = 0.1 * random.standard_normal((65, 10))
Z = X_train @ W
print("X", X_train.shape, " W", W.shape, " Z", Z.shape)
print(f"accuracy of random weights: {np.mean(Z.argmax(axis=1) == y_train):.3f}")

# %% [markdown]
# **Question.** Which accuracy do you expect of random weights? How many numbers does training have to
# find?
#
# <details><summary>Answer</summary>
#
# About 0.1: one class in ten, by chance. Training has to find $65 \times 10 = 650$ numbers: 64 weights
# and an intercept for each digit.
#
# </details>

# %% [markdown]
# ## Softmax
#
# Probabilities are positive and sum to one. Softmax makes them of scores:
#
# $$p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}$$
#
# Written down just so, it fails on scores that are large, though its result never is:

# %%
z = np.array([1000.0, 999.0, 0.0])
with np.errstate(over="ignore", invalid="ignore"):
    print("as written:        ", np.exp(z) / np.exp(z).sum())
print("fastsoftmax.lecture:", lecture.softmax(z))

# %% [markdown]
# **Question.** $e^{1000}$ exceeds the largest `float64`, which is about $e^{709.8}$. What can be
# subtracted from all scores without a change of the probabilities?
#
# <details><summary>Answer</summary>
#
# Any number $m$:
# $\frac{e^{z_k - m}}{\sum_j e^{z_j - m}} = \frac{e^{-m} e^{z_k}}{e^{-m} \sum_j e^{z_j}} = p_k$. With
# $m = \max_j z_j$ the largest exponential is $e^0 = 1$: nothing overflows, and the sum is at least 1.
# What underflows to 0 is too small to matter.
#
# </details>


# %%
# Exercise 1: softmax of each row of Z, for scores of any size.
def softmax(Z):
    raise NotImplementedError("return an array of the shape of Z")


# %%
# Check 1
assert np.allclose(softmax(Z), lecture.softmax(Z))
assert np.allclose(softmax(Z).sum(axis=1), 1)
assert np.allclose(softmax(Z), softmax(Z + 123.0))
assert np.allclose(softmax(np.array([[1000.0, 999.0, 0.0]])), [[0.731058579, 0.268941421, 0]])
print("Softmax is right, for large scores as well.")

# %% [markdown]
# ## Cross-entropy
#
# How good are the probabilities $p$ if the true class is $y$? The loss of a sample is $-\log p_y$: zero
# if the model is sure and right, large if it is sure and wrong. The loss of a data set is the mean:
#
# $$L = -\frac1n \sum_i \log p_{i y_i} = \frac1n \sum_i \Big(\log \sum_j e^{z_{ij}} - z_{i y_i}\Big)$$
#
# The second form takes the logarithm of a softmax by hand. It is the better one: where $p_y$ underflows
# to 0, its logarithm would be infinite.

# %%
zeros = np.zeros((len(X_train), 10))
loss_of_nothing, _ = lecture.softmax_with_cross_entropy(zeros, y_train)
print(f"loss of W = 0: {loss_of_nothing:.6f}")

# %% [markdown]
# **Question.** Which number is that, and why does it not depend on the data?
#
# <details><summary>Answer</summary>
#
# $\log 10 = 2.302585$. With $W = 0$ all scores are equal, each class has probability $1/10$, and
# $-\log \frac1{10} = \log 10$. It is the first thing to check of any new loss: small random weights must
# give about $\log c$.
#
# </details>


# %%
# Exercise 2: the mean cross-entropy from scores, by the second form, for scores of any size.
def cross_entropy(Z, y):
    raise NotImplementedError("return a number")


# %%
# Check 2
assert np.isclose(cross_entropy(zeros, y_train), np.log(10))
assert np.isclose(cross_entropy(Z, y_train), lecture.softmax_with_cross_entropy(Z, y_train)[0])
assert np.isclose(cross_entropy(np.array([[0.0, 1000.0]]), np.array([0])), 1000)
print("Cross-entropy is right.")

# %% [markdown]
# ## The gradient, by hand
#
# SGD needs to know how the loss changes with each weight. By the chain rule, in two steps:
#
# 1. In the scores: the derivative of $\log \sum_j e^{z_j}$ with respect to $z_k$ is
#    $\frac{e^{z_k}}{\sum_j e^{z_j}} = p_k$, and that of $-z_y$ is $-1$ for $k = y$. So
#    $\frac{\partial L}{\partial z_{ik}} = \frac1n (p_{ik} - [k = y_i])$: probability minus truth.
# 2. In the weights: $z_{ik} = \sum_j x_{ij} W_{jk}$, so each score passes its derivative on, times
#    $x_{ij}$: $\frac{\partial L}{\partial W} = X^\top \frac{\partial L}{\partial Z}$.
#
# **Question.** What do the derivatives in the scores of one sample sum to, and what does that mean?
#
# <details><summary>Answer</summary>
#
# To 0: the probabilities sum to 1, and so does the truth. To add the same number to all scores of a
# sample changes nothing, as with softmax itself.
#
# </details>


# %%
# Exercise 3: the loss and its gradient in W, by the formulas above.
def loss_and_gradient(W, X, y):
    raise NotImplementedError("return loss, dW")


# %%
# Check 3
loss, dW = loss_and_gradient(W, X_train, y_train)
expected_loss, expected_dW = lecture.linear_softmax(X_train, W, y_train)
assert dW.shape == W.shape
assert np.isclose(loss, expected_loss)
assert np.allclose(dW, expected_dW)
assert np.allclose(dW.sum(axis=1), 0)
print("The gradient is right.")

# %% [markdown]
# ## The gradient, by differences
#
# Who checks a formula if there is nothing to compare it with? The definition of a derivative does:
#
# $$\frac{\partial L}{\partial W_{jk}} \approx \frac{L(W_{jk} + h) - L(W_{jk} - h)}{2h}$$
#
# It takes two losses for each of the 650 weights, which is why one does not train with it.


# %%
def loss_of(weights):
    return lecture.linear_softmax(X_train, weights, y_train)[0]


_, dW_by_hand = lecture.linear_softmax(X_train, W, y_train)
_ = lecture.grad_check_sparse(loss_of, W, dW_by_hand, num_checks=5)


# %%
# Exercise 4: the derivative of f with respect to W[j, k] by central differences. Leave W as it was.
def numerical_derivative(f, W, j, k, h=1e-5):
    raise NotImplementedError("return a number")


# %%
# Check 4
before = W.copy()
for j, k in ((10, 3), (37, 9), (64, 0)):
    assert np.isclose(
        numerical_derivative(loss_of, W, j, k), dW_by_hand[j, k], rtol=1e-6, atol=1e-9
    )
assert np.array_equal(W, before)
print("Differences agree with the formula.")

# %% [markdown]
# How large should $h$ be? Try all of them:

# %%
steps = 10.0 ** np.arange(-13, 0.5, 0.5)
errors = []
for h in steps:
    up, down = W.copy(), W.copy()
    up[37, 9] += h
    down[37, 9] -= h
    difference = (loss_of(up) - loss_of(down)) / (2 * h)
    errors.append(abs(difference - dW_by_hand[37, 9]) + 1e-17)

figure, place = plt.subplots(figsize=(6, 3), layout="constrained")
place.loglog(steps, errors, "o-")
place.set(xlabel="h", ylabel="error of the derivative", title="Too large, too small")
place.grid(alpha=0.3)

# %% [markdown]
# **Question.** Why does the error grow on both sides?
#
# <details><summary>Answer</summary>
#
# On the right the curve of the loss bends within $h$: the error of central differences is proportional to
# $h^2$ (two decades for one). On the left two almost equal losses are subtracted: each is rounded at the
# sixteenth digit, and the division by $2h$ makes that error grow like $1/h$. Both are small around
# $h = 10^{-5}$.
#
# </details>

# %% [markdown]
# ## Penalties
#
# Large weights fit the noise of the training samples. A penalty makes them cost something:
#
# $$L + \lambda_2 \sum W_{jk}^2 + \lambda_1 \sum |W_{jk}|$$
#
# L2 pulls each weight towards zero in proportion to its size (gradient $2\lambda_2 W$); L1 pulls with the
# same force however small it is (gradient $\lambda_1 \operatorname{sign} W$), so that weights become
# exactly zero. Both together are the elastic net.


# %%
# Exercise 5: the elastic-net penalty and its gradient.
def penalty(W, l2, l1):
    raise NotImplementedError("return value, gradient")


# %%
# Check 5
value, gradient = penalty(W, 0.5, 0.0)
expected_value, expected_gradient = lecture.l2_regularization(W, 0.5)
assert np.isclose(value, expected_value)
assert np.allclose(gradient, expected_gradient)
value, gradient = penalty(W, 0.5, 0.25)
expected_value, expected_gradient = fastsoftmax.penalty(W, l2=0.5, l1=0.25)
assert np.isclose(value, expected_value)
assert np.allclose(gradient, expected_gradient)
print("The penalties are right.")

# %%
for name, parameters in {
    "l2": {"penalty": "l2"},
    "l1": {"penalty": "l1"},
    "elastic net": {"penalty": "elasticnet", "l1_ratio": 0.5},
}.items():
    model = SoftmaxClassifier(alpha=3e-3, random_state=0, **parameters)
    model.fit(X_train[:, :64], y_train)
    accuracy = model.score(X_val[:, :64], y_val)
    print(
        f"{name:>12}: {np.mean(model.coef_ == 0):4.0%} of the weights are 0, accuracy {accuracy:.3f}"
    )

# %% [markdown]
# **Question.** With L2 there are weights of exactly 0, too. Which?
#
# <details><summary>Answer</summary>
#
# Those of pixels that are white in every training image, such as the corners: no sample ever moves them
# away from 0.
#
# </details>

# %% [markdown]
# ## Minibatch SGD
#
# The gradient of a few samples points roughly where that of all points, and costs a fraction of it. So:
# shuffle the samples, take them in minibatches, and after each one go a step downhill,
# $W \leftarrow W - \eta\,\frac{\partial L}{\partial W}$. Once through all samples is an epoch.
# `lecture.softmax_loss_vectorized` computes loss and gradient with an L2 penalty.


# %%
# Exercise 6: one epoch. Take the samples in the given order, `batch_size` of them for each step.
def epoch(W, X, y, order, learning_rate, batch_size, reg):
    raise NotImplementedError("return W after len(X) / batch_size steps")


# %%
# Check 6
start = np.zeros((65, 10))
one_step = epoch(start, X_train, y_train, np.arange(len(X_train)), 0.5, len(X_train), 0.1)
_, whole_gradient = lecture.softmax_loss_vectorized(start, X_train, y_train, 0.1)
assert np.allclose(one_step, start - 0.5 * whole_gradient), (
    "one minibatch of all samples is one step"
)
assert not start.any(), "the weights that were given have changed"
random = np.random.default_rng(0)
trained = start
for _ in range(10):
    order = random.permutation(len(X_train))
    trained = epoch(trained, X_train, y_train, order, 0.5, 32, 1e-4)
assert np.mean((X_val @ trained).argmax(axis=1) == y_val) > 0.93
print(f"loss {loss_of(trained):.3f}, from {np.log(10):.3f}")

# %% [markdown]
# The course's own class does the same, with minibatches drawn with replacement. The loss of a minibatch
# is noisy; what matters is its trend.

# %%
np.random.seed(0)  # noqa: NPY002 (the course's classes draw from NumPy's global generator)
figure, place = plt.subplots(figsize=(7, 3), layout="constrained")
for learning_rate in (0.01, 1.0, 30.0):
    softmax_model = lecture.Softmax()
    history = softmax_model.train(
        X_train, y_train, learning_rate=learning_rate, reg=1e-4, num_iters=400, batch_size=64
    )
    accuracy = np.mean(softmax_model.predict(X_val) == y_val)
    place.plot(
        history, lw=1, label=f"learning rate {learning_rate}: validation accuracy {accuracy:.3f}"
    )
place.axhline(np.log(10), color="gray", ls=":", lw=1)
place.set(xlabel="step", ylabel="loss of the minibatch", ylim=(0, 5))
_ = place.legend()

# %% [markdown]
# **Question.** What does a learning rate that is too small look like, and one that is too large?
#
# <details><summary>Answer</summary>
#
# Too small: the loss falls, slowly, and is still high in the end. Too large: it jumps up and down and
# never settles, or grows until it overflows. Between them, try each factor of three.
#
# </details>

# %% [markdown]
# ## The search for hyper-parameters
#
# Learning rate and strength of the penalty are not learned by SGD: try a grid of them, each combination
# trained on the training set and judged on the validation set. `fastsoftmax.search` trains them together.
# Its `alpha` is twice the lecture's `reg`, since its penalty is `alpha / 2 * sum(W**2)`.

# %%
found = fastsoftmax.search(
    X_train[:, :64],
    y_train,
    learning_rates=[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
    regs=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    validation=(X_val[:, :64], y_val),
    max_iter=30,
    tol=None,
    random_state=0,
)
print(f"best: learning rate {found.best_learning_rate}, alpha {found.best_reg}")
plotting.plot_search(found)

# %% [markdown]
# Now, and only now, the test set:

# %%
best = SoftmaxClassifier(
    eta0=found.best_learning_rate, alpha=found.best_reg, max_iter=30, tol=None, random_state=0
)
best.fit(X_rest[:, :64], y_rest)
print(f"accuracy on the test set: {best.score(X_test[:, :64], y_test):.3f}")

# %% [markdown]
# **Question.** Why not choose the hyper-parameters by the accuracy on the test set?
#
# <details><summary>Answer</summary>
#
# The best of thirty-five numbers is partly the luckiest one. The accuracy on the set by which you choose
# is therefore too good; only samples that had no part in any decision tell how the model does on new
# ones.
#
# </details>

# %% [markdown]
# ## Templates
#
# A column of $W$ has as many numbers as an image has pixels: drawn as an image, it is the template of its
# digit. The score is how well the image agrees with it.

# %%
plotting.plot_weights(best, image_shape=(8, 8))

# %% [markdown]
# **Question.** Why is the middle of the template of 0 strongly negative?
#
# <details><summary>Answer</summary>
#
# Ink in the middle is the best evidence against a zero: most other digits have some there, a zero has
# none.
#
# </details>
#
# ## In colour, and on your own images
#
# Templates of photographs have three weights for each pixel: for red, green and blue. Below are squares of
# the two photographs that come with scikit-learn, of the upper and the lower half of each. Download
# CIFAR-10 (`cifar-10-batches-py`), SVHN (`train_32x32.mat`) or the folder of MNIST, set `FILES` to its
# path, or the environment variable `LESSON_DATA` before you start, and run the cell again.

# %%
import os

FILES = os.environ.get("LESSON_DATA")
if FILES:
    samples = fastsoftmax.datasets.load(FILES)
    rows = np.random.default_rng(0).permutation(len(samples.y))[:10000]
    X, y, image_shape, names = (
        samples.X[rows] / 255,
        samples.y[rows],
        samples.image_shape,
        samples.class_names,
    )
else:
    patches = fastsoftmax.datasets.load_patches()
    X, y, image_shape = patches.X_train, patches.y_train, patches.image_shape
    names = ["temple, upper half", "temple, lower half", "flower, upper half", "flower, lower half"]
X = (X - X.mean(axis=0)).astype(np.float32)
X_fit, X_held_out, y_fit, y_held_out = train_test_split(X, y, random_state=0, stratify=y)
history = plotting.TrainingHistory(X_held_out, y_held_out)
in_colour = SoftmaxClassifier(alpha=0.1, max_iter=30, tol=None, random_state=0, callbacks=history)
in_colour.fit(X_fit, y_fit)
print(
    f"accuracy on {len(y_held_out)} held-out images: {in_colour.score(X_held_out, y_held_out):.3f}"
)
plotting.plot_weights(in_colour, image_shape, names)

# %% [markdown]
# **Question.** What does a model with such templates see in a photograph, and what not?
#
# <details><summary>Answer</summary>
#
# Colours, and where they are: sky is blue and bright, leaves are green. It does not see shapes that may be
# anywhere in an image, as it adds up the same weights for the same pixels, whatever is next to them.
#
# </details>

# %%
plotting.plot_loss_curve(history)

# %% [markdown]
# The objective is the loss plus the penalty; the loss on held-out images has no penalty, and its best epoch
# is marked.
#
# You have trained a model and know each of its parts. Part 2 asks how fast this can be done, and why.
