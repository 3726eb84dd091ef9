"""
The strength of the penalty
===========================

The minimum of the objective is not the best model unless the strength of its penalty is chosen. A path of
strengths costs little more than its hardest fit, since each begins where the one before ended.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import fastsoftmax
from fastsoftmax import SoftmaxClassifier, plotting

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

found = fastsoftmax.search(
    X_train,
    y_train,
    regs=np.geomspace(1e-5, 1, 11),
    solver="lbfgs",
    standardize=True,
    random_state=0,
)
figure = plotting.plot_search(found)

# %%
# ``alpha="auto"`` does the same inside a fit, and then trains on all samples:

model = SoftmaxClassifier(solver="lbfgs", alpha="auto", standardize=True, random_state=0)
model.fit(X_train, y_train)
weak = SoftmaxClassifier(solver="lbfgs", alpha=1e-6, standardize=True).fit(X_train, y_train)
for name, fitted in (("chosen", model), ("1e-6", weak)):
    p = fitted.predict_proba(X_test)[np.arange(len(y_test)), y_test]
    print(f"alpha {name:>6}: held-out log loss {-np.log(p).mean():.3f}")
