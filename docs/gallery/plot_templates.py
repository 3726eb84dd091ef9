"""
What a linear classifier looks for
==================================

A row of weights has the shape of an image: where it is positive, ink speaks for the class, where it is
negative, against it.
"""

from fastsoftmax import SoftmaxClassifier, datasets, plotting

digits = datasets.load_digits()
model = SoftmaxClassifier(solver="lbfgs", alpha=1e-2).fit(digits.X_train, digits.y_train)
figure = plotting.plot_weights(model, image_shape=(8, 8))

# %%
# Where it errs: rows are the true digits, columns what was predicted.

predicted = model.predict(digits.X_test)
figure = plotting.plot_confusion_matrix(digits.y_test, predicted)

# %%
# The fit says how near the optimum it came, by a bound that needs no trust:

print(f"accuracy {(predicted == digits.y_test).mean():.3f}")
print(model.optimality_)
