"""Forks, processes started in every way, and threads by the dozen: run by test_processes.py.

Most of it may hang or crash where it is wrong, and forks should begin in a process that has no threads but
ours. Printed is a JSON object: what each case found, where all is well the word "same". If it has not come
to an end after that many seconds, it prints what its threads do.

    python processes.py SECONDS
"""

import copy
import faulthandler
import hashlib
import json
import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
import time
import warnings

import joblib
import numpy as np
import scipy.sparse

from fastsoftmax import SoftmaxClassifier, load, softmax, softmax_cross_entropy

SECONDS = 30
OPTIONS = {"max_iter": 4, "tol": None, "random_state": 0, "eta0": 0.1, "backend": "compiled"}
# Short rows, panels of features, packed operands: all large enough for the threads.
SHAPES = [(30, 5), (200, 10), (60, 60)]


def data_of(d, c, n=600):
    rng = np.random.default_rng(d)
    X = rng.normal(size=(n, d)).astype(np.float32)
    return X, (X[:, :c] + rng.normal(size=(n, min(c, d)))).argmax(axis=1)


def work(seed=0, n_jobs=2):
    """A digest of what training, partial training, predictions and the loss core give."""
    found = []
    for d, c in SHAPES:
        X, y = data_of(d, c)
        sparse = scipy.sparse.csr_array(np.where(X > 1, X, 0))
        for rows in (X, sparse):
            model = SoftmaxClassifier(**OPTIONS | {"random_state": seed}, n_jobs=n_jobs)
            model.fit(rows, y).partial_fit(rows[:300], y[:300])
            found += [model.coef_, model.intercept_, model.predict_proba(rows)]
        logits = np.ascontiguousarray(np.tile(X, 3))
        loss, gradient = softmax_cross_entropy(logits, y, n_threads=n_jobs)
        found += [np.float64(loss), gradient, softmax(logits, n_threads=n_jobs)]
    return hashlib.sha256(b"".join(array.tobytes() for array in found)).hexdigest()


def small_work():
    X, y = data_of(200, 10)
    model = SoftmaxClassifier(**OPTIONS, n_jobs=2).fit(X, y)
    return hashlib.sha256(model.coef_.tobytes() + model.predict_proba(X).tobytes()).hexdigest()


def n_threads():
    """Those of this process that the system knows of."""
    return len(os.listdir("/proc/self/task"))


def in_child(function=work):
    """What the function returns in a child by os.fork; "hangs" where it does not end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, function().encode())
        finally:
            os._exit(0)
    os.close(writing)
    end = time.monotonic() + SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.002)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def all_are(found, expected):
    wrong = [value for value in found if value != expected]
    return "same" if found and not wrong else f"{len(wrong)} of {len(found)} differ: {wrong[:3]}"


def fork_before_use():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(work, [0, 0]).get(SECONDS)
    return all_are(found, work())


def fork_after_use():
    expected = work()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(work, [0, 0]).get(SECONDS)
    return all_are([*found, work()], expected)


def fork_during_a_fit():
    """While another thread has the pool, and may hold its lock; a child has a pool of its own."""
    expected, stop = small_work(), threading.Event()
    X, y = data_of(200, 10, 3000)

    def train():
        while not stop.is_set():
            SoftmaxClassifier(**OPTIONS, n_jobs=2).fit(X, y)

    trainer = threading.Thread(target=train)
    trainer.start()
    found = []
    for i in range(12):
        time.sleep(0.002 * i)
        found.append(in_child(lambda: f"{small_work()} by {n_threads()} threads"))
    stop.set()
    trainer.join()
    found.append(f"{small_work()} by {min(os.cpu_count(), 2)} threads")
    return all_are(found, f"{expected} by {min(os.cpu_count(), 2)} threads")


def fork_in_a_thread():
    expected, found = work(), []
    thread = threading.Thread(target=lambda: found.append(in_child()))
    thread.start()
    thread.join()
    return all_are([*found, work()], expected)


def children_of_children():
    expected = work()

    def child():
        own, of_child = work(), in_child(lambda: in_child())
        return own if own == of_child else f"{own}, {of_child}"

    return all_are([in_child(child), work()], expected)


def started_anew(method):
    expected = work()
    with multiprocessing.get_context(method).Pool(1) as pool:
        return all_are([pool.apply_async(work).get(SECONDS), work()], expected)


def joblib_with(backend):
    expected = work()
    with joblib.parallel_config(backend=backend):
        found = joblib.Parallel(n_jobs=2, timeout=SECONDS)(joblib.delayed(work)() for _ in range(4))
    if backend == "loky":
        joblib.externals.loky.get_reusable_executor().shutdown()
    return all_are([*found, work()], expected)


def in_threads(functions):
    """What they return when all begin at once."""
    found, barrier = [None] * len(functions), threading.Barrier(len(functions))

    def run(i):
        barrier.wait(SECONDS)
        found[i] = functions[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    return found


def threads_with_models_of_their_own():
    expected = [work(seed, 1) for seed in range(8)]
    found = in_threads([lambda i=i: work(i, 1 + i % 4) for i in range(8)])
    return all_are([found], expected)


def threads_that_predict_with_one_model():
    X, y = data_of(200, 10)
    model = SoftmaxClassifier(**OPTIONS, n_jobs=2).fit(X, y)
    expected = model.predict_proba(X).tobytes()

    def predict():
        return {model.predict_proba(X).tobytes() for _ in range(20)}

    return all_are(in_threads([predict] * 8), {expected})


def threads_that_predict_while_one_trains():
    """All that is seen, saved or copied is some state between two calls, though classes are added."""
    X, y = data_of(20, 8)
    labels = np.array([f"class {7 - i}" for i in range(8)])[y]  # new ones come before the others
    model = SoftmaxClassifier(**OPTIONS, n_jobs=2, momentum=0.5, standardize=True)
    model.partial_fit(X[y < 2], labels[y < 2])
    chunks = [(X[y < c], labels[y < c]) for c in (2, 3, 4, 5, 6, 7, 8) for _ in range(20)]
    after, same = [model.predict_proba(X).tobytes()], copy.deepcopy(model)
    known = {tuple(model.predict(X))}
    for chunk in chunks:
        same.partial_fit(*chunk)
        after.append(same.predict_proba(X).tobytes())
        known.add(tuple(same.predict(X)))
    done = threading.Event()

    def train():
        for chunk in chunks:
            model.partial_fit(*chunk)
        done.set()

    def check(copied):
        while not done.is_set():
            if copied().predict_proba(X).tobytes() not in after:
                return "a mixture of two states"
            if tuple(copied().predict(X)) not in known:
                return "labels of another state"
        return "same"

    def saved():
        path = os.path.join(folder, f"{threading.get_ident()}.npz")
        model.save(path)
        return load(path)

    ways = [saved, lambda: pickle.loads(pickle.dumps(model)), *[lambda: model] * 5]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # anywhere between two instructions
    with tempfile.TemporaryDirectory() as folder:
        found = in_threads([train, *(lambda way=way: check(way) for way in ways)])[1:]
    sys.setswitchinterval(interval)
    return all_are(
        [*found, "same" if model.predict_proba(X).tobytes() == after[-1] else "?"], "same"
    )


def threads_that_end():
    """Each uses the pool once, and the first starts it: how many threads are left does not grow."""
    X, y = data_of(200, 10, 200)
    expected = SoftmaxClassifier(**OPTIONS, n_jobs=1).fit(X, y).coef_.tobytes()
    found = []

    def fit():
        found.append(SoftmaxClassifier(**OPTIONS, n_jobs=2).fit(X, y).coef_.tobytes())

    def n_left(n, most=0):
        """After that many have been joined: on a busy machine one may be there a moment longer."""
        for _ in range(n):
            thread = threading.Thread(target=fit)
            thread.start()
            thread.join()
        counts = []
        while len(counts) < 20 and min(counts, default=most + 1) > most:
            time.sleep(0.05)
            counts.append(n_threads())
        return min(counts)

    before = n_left(10)
    after = n_left(290, before)
    if after > before:
        return f"{after} threads are left, and were {before}"
    return all_are(found, expected)


CASES = {
    "fork before use": fork_before_use,
    "threads that end": threads_that_end,
    "fork after use": fork_after_use,
    "fork during a fit": fork_during_a_fit,
    "fork in a thread": fork_in_a_thread,
    "children of children": children_of_children,
    "spawn": lambda: started_anew("spawn"),
    "forkserver": lambda: started_anew("forkserver"),
    "joblib's loky": lambda: joblib_with("loky"),
    "joblib's threads": lambda: joblib_with("threading"),
    "threads with models of their own": threads_with_models_of_their_own,
    "threads that predict with one model": threads_that_predict_with_one_model,
    "threads that predict while one trains": threads_that_predict_while_one_trains,
}


if __name__ == "__main__":
    # Python's, of forks beside threads: what it warns of is what is tried.
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True)
    print(json.dumps({name: case() for name, case in CASES.items()}))
