"""Profiles: what they count adds up, and what they measure is not changed by it."""

import json
import subprocess
import sys
from collections import Counter
from threading import Barrier, Thread

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastsoftmax
from fastsoftmax import SoftmaxClassifier, profile
from fastsoftmax._arrays.threads import allowed_cpus
from fastsoftmax.backends import recorder
from fastsoftmax.backends.recorder import Span
from fastsoftmax.profiling import flame_graph, roofline
from fastsoftmax.profiling.cost_model import Work, work_of
from fastsoftmax.profiling.profiler import BETWEEN, OUTSIDE
from fastsoftmax.profiling.provenance import cpu_name
from fastsoftmax.profiling.roofline import Peaks, measure_peaks
from fastsoftmax.profiling.trace import trace_events

PEAKS = Peaks(n_threads=2, float32=2e11, float64=1e11, read=3e10, copy=3e10)
SEPARATE = {"scores", "softmax and loss", "gradient and update"}


def problem(rng, n=300, d=40, c=5, dtype=np.float32):
    return rng.normal(size=(n, d)).astype(dtype), np.arange(n) % c


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_phases_add_up_to_the_whole(trainer, n_jobs, rng):
    backend, shape = trainer.backend, (300, 40, 5)
    X, y = problem(rng, *shape)
    model = SoftmaxClassifier(backend=backend, n_jobs=n_jobs, max_iter=3, tol=None, batch_size=200)
    with profile() as p:
        model.fit(X, y)
    assert sum(time.seconds for time in p.times) == pytest.approx(p.seconds, rel=1e-9)
    assert sum(time.share for time in p.times) == pytest.approx(1)
    assert all(time.seconds >= 0 for time in p.times)
    assert [e[:1] + e[3:7] for e in p.epochs] == [(backend, *shape[:2], shape[2], 2)] * 3
    assert {e.step_algorithm for e in p.epochs} == {trainer.algorithm}
    names = {time.name for time in p.times}
    assert names >= {BETWEEN, OUTSIDE, "gather and convert"}
    assert names >= ({recorder.TOGETHER} if backend in ("naive", "numba") else SEPARATE)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_profile_changes_no_bits_and_leaves_nothing_behind(backend, n_jobs, rng):
    X, y = problem(rng)
    parameters = {"backend": backend, "n_jobs": n_jobs, "max_iter": 2, "random_state": 0}
    plain = SoftmaxClassifier(**parameters).fit(X, y)
    with profile(trace=True) as p:
        profiled = SoftmaxClassifier(**parameters).fit(X, y)
    before = p.as_record(PEAKS)
    np.testing.assert_array_equal(profiled.coef_, plain.coef_)
    assert recorder.recorder is None
    SoftmaxClassifier(**parameters).fit(X, y)
    assert p.as_record(PEAKS) == before


def test_every_profile_starts_from_nothing(rng):
    X, y = problem(rng)
    model = SoftmaxClassifier(backend="compiled", n_jobs=1, max_iter=1)
    with profile(trace=True) as long:
        for _ in range(20):
            model.fit(X, y)
    with profile(trace=True) as short:
        model.fit(X, y)
    assert len(long.epochs) == 20
    assert len(short.epochs) == 1
    assert len(long._spans) == 20 * len(short._spans)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_the_parts_of_a_solver(backend, rng, penalty):
    """They do not overlap, and the phases of their kernels are within them."""
    X, y = problem(rng, dtype=np.float64)
    parameters = {"solver": "lbfgs", "backend": backend, "alpha": 0.05, "penalty": penalty}
    plain = SoftmaxClassifier(**parameters).fit(X, y)
    with profile() as p:
        model = SoftmaxClassifier(**parameters).fit(X, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    parts = {part.name: part for part in p.parts}
    assert [*parts] == [*recorder.PARTS, recorder.REST]
    assert all(part.seconds > 0 for part in p.parts)
    assert sum(part.seconds for part in p.parts) <= p.seconds
    assert parts[recorder.REST].calls == model.n_iter_
    assert parts["loss and gradient"].calls > model.n_iter_
    assert sum(part.share for part in p.parts) <= 1
    lines = [line for line in p.table(PEAKS).splitlines() if line.startswith("loss and gradient")]
    assert int(lines[0].split()[-1]) == parts["loss and gradient"].calls
    assert p.as_record(PEAKS)["parts"] == [part._asdict() for part in p.parts]


def test_the_loss_core_alone(rng):
    logits, y = rng.normal(size=(2000, 50)), rng.integers(50, size=2000)
    with profile() as p:
        fastsoftmax.softmax_cross_entropy(logits, y, backend="compiled")
    times = {time.name: time.seconds for time in p.times}
    assert times["softmax and loss"] > 0
    assert "scores" not in times
    assert "ms per profile" in p.table(PEAKS)
    with pytest.raises(ValueError, match=r"^profile: no epoch"):
        p.plot(PEAKS)


def test_two_threads_train_at_once(rng):
    X, y = problem(rng)
    barrier = Barrier(2)

    def fit():
        barrier.wait()
        SoftmaxClassifier(backend="compiled", max_iter=30, tol=None).fit(X, y)

    with profile() as p:
        threads = [Thread(target=fit) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(p.epochs) == 60
    assert sum(time.seconds for time in p.times) == pytest.approx(p.seconds, rel=1e-9)


def test_only_one_profile_at_a_time():
    with profile():
        with pytest.raises(RuntimeError, match=r"^profile: another"), profile():
            pass
        assert recorder.recorder is not None
    with profile():
        pass


def test_an_error_within_ends_the_profile(rng):
    with pytest.raises(ZeroDivisionError), profile() as p:
        raise ZeroDivisionError
    assert p.seconds > 0
    assert recorder.recorder is None


def test_bad_arguments(rng):
    with pytest.raises(TypeError, match=r"^trace: expected True or False"):
        profile(trace=1)
    with profile() as p:
        pass
    with pytest.raises(ValueError, match=r"^trace: the profile was made without"):
        p.save_trace("trace.json")
    with pytest.raises(ValueError, match=r"^trace: the profile was made without"):
        p.save_flame_graph("flame.json")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_trace(backend, n_jobs, rng, tmp_path):
    X, y = problem(rng, n=600, d=400, c=10)
    with profile(trace=True) as p:
        SoftmaxClassifier(backend=backend, n_jobs=n_jobs, max_iter=2, tol=None).fit(
            X[:200], y[:200]
        )
    p.save_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    works = [event for event in events if event["ph"] == "X"]
    assert sum(event["name"] == f"epoch ({backend})" for event in works) == 2
    assert all(event["ts"] >= 0 and event["dur"] >= 0 for event in works)
    assert all(event["ts"] + event["dur"] <= p.seconds * 1e6 + 1 for event in works)
    names = {e["tid"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert names == {event["tid"] for event in works}
    # Of one thread, each begins after the one before has ended.
    for thread in names:
        ends = 0.0
        for event in works:
            if event["tid"] == thread:
                assert event["ts"] >= ends - 1e-6
                ends = event["ts"] + event["dur"]
    assert p.n_dropped == 0


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_rates_of_a_trace(backend, n_jobs, rng):
    """What the events say adds up to the work of their epochs, and the rates are those of the table.

    NumPy reads the rows of three minibatches, then those of two.
    """
    n, d, c = (90, 40, 5) if backend == "naive" else (500, 200, 10)
    X, y = problem(rng, n, d, c)
    with profile(trace=True) as p:
        SoftmaxClassifier(
            backend=backend, n_jobs=n_jobs, max_iter=1, tol=None, batch_size=n // 5
        ).fit(X, y)
    events = [event for event in json.loads(p.as_trace())["traceEvents"] if event["ph"] == "X"]
    (epoch,) = [event for event in events if event["name"] == f"epoch ({backend})"]
    work = work_of(p.epochs[0])
    args = epoch["args"]
    shape = {"rows": n, "features": d, "classes": c, "steps": 5, "epoch": 0}
    assert shape.items() <= args.items()
    assert args["flop"] == sum(one.flop for one in work.values())
    assert args["bytes"] == sum(one.memory for one in work.values())
    assert args["GFLOP/s"] == pytest.approx(1e-3 * args["flop"] / epoch["dur"])
    of_table = {time.name: time for time in p.times}
    assert args["phases"].keys() == {name for name in of_table if name in work and any(work[name])}
    for name, rates in args["phases"].items():
        time = of_table[name]
        assert rates.get("GFLOP/s") == (time.flops and pytest.approx(1e-9 * time.flops))
        assert rates.get("GB/s") == (time.bandwidth and pytest.approx(1e-9 * time.bandwidth))
    phases = [event for event in events if event is not epoch]
    assert {event["args"]["epoch"] for event in phases} == {0}
    if backend == "compiled":  # whose kernels record times alone
        assert {frozenset(event["args"]) for event in phases} == {frozenset({"epoch"})}
        return
    for name in work:
        of_phase = [event["args"] for event in phases if event["name"] == name]
        if any("rows" not in args for args in of_phase):
            assert not any("flop" in args for args in of_phase)
            continue
        assert sum(args["rows"] for args in of_phase) == n
        assert sum(args.get("flop", 0) for args in of_phase) == pytest.approx(work[name].flop)
        assert sum(args.get("bytes", 0) for args in of_phase) == pytest.approx(work[name].bytes)
    first_steps = [event["args"]["step"] for event in phases if "step" in event["args"]]
    assert first_steps == sorted(first_steps)
    assert first_steps[0] == 0
    assert max(first_steps) < 5


def test_the_rates_of_a_span_are_those_of_its_rows():
    epoch = recorder.Epoch("numba", 0, 2000, 100, 20, 5, 4, "float32", 2e3, 4, False, 2, True)
    spans = [Span(recorder.TOGETHER, 0, 500, 0, 25, 0), Span(recorder.TOGETHER, 600, 1600, 0)]
    only = trace_events(spans[:1], [epoch], 0, 2, True)[-1]
    work = work_of(epoch)[recorder.TOGETHER]
    assert only["args"] == {
        "epoch": 0,
        "step": 0,
        "rows": 25,
        "flop": work.flop / 4,
        "bytes": work.bytes / 4,
        "GFLOP/s": pytest.approx(work.flop / 4 / 500),
        "GB/s": pytest.approx(work.bytes / 4 / 500),
    }
    # With another span of the phase, which is not of rows, the parts of its work are unknown.
    _, whole, first, second = trace_events(spans, [epoch], 0, 2, True)
    assert first["args"] == {"epoch": 0, "step": 0, "rows": 25}
    assert second["args"] == {"epoch": 0}
    taken = 1500 / 2
    assert whole["args"]["phases"][recorder.TOGETHER]["GB/s"] == pytest.approx(work.bytes / taken)
    assert trace_events(spans, [epoch], 0, 2, False)[1]["args"]["phases"] == {}
    # Two threads train: a kernel's epoch is unknown, that of a span in Python is not.
    other = epoch._replace(thread=1)
    kernel, python = Span("scores", 10, 20, -1), Span("scores", 30, 40, 1)
    shown = trace_events([kernel, python], [epoch, other], 0, 2, True)
    of_scores = [event["args"] for event in shown if event["name"] == "scores"]
    assert of_scores == [{}, {"epoch": 1}]


def nanoseconds_by_stack(profile, frames):
    """The time of each stack of frames, after the rules of speedscope's schema are checked."""
    assert profile.keys() == {"type", "name", "unit", "startValue", "endValue", "events"}
    assert (profile["type"], profile["unit"]) == ("evented", "nanoseconds")
    stack, at, times = [], profile["startValue"], Counter()
    for event in profile["events"]:
        assert event.keys() == {"type", "at", "frame"}
        assert at <= event["at"] <= profile["endValue"]
        times[tuple(stack)] += event["at"] - at
        at, frame = event["at"], frames[event["frame"]]["name"]
        if event["type"] == "O":
            stack.append(frame)
        else:
            assert event["type"] == "C"
            assert stack.pop() == frame
    assert not stack
    return times


def read_flame_graph(text):
    """The times by stack, of each thread of a flame graph."""
    graph = json.loads(text)
    assert graph["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert graph.keys() == {"$schema", "name", "exporter", "shared", "profiles"}
    frames = graph["shared"]["frames"]
    assert len({frame["name"] for frame in frames}) == len(frames)
    return {one["name"]: nanoseconds_by_stack(one, frames) for one in graph["profiles"]}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_flame_graph(backend, n_jobs, rng, tmp_path):
    """Each phase is within its epoch, and takes the time that the table shows."""
    X, y = problem(rng, n=4000, d=300, c=10)
    if backend == "naive":
        X, y = X[:50], y[:50]
    with profile(trace=True, settings={"seed": 7}) as p:
        SoftmaxClassifier(backend=backend, n_jobs=n_jobs, max_iter=2, tol=None).fit(X, y)
    p.save_flame_graph(tmp_path / "flame.json")
    text = (tmp_path / "flame.json").read_text()
    threads = read_flame_graph(text)
    assert f"fastsoftmax {fastsoftmax.__version__}, " in json.loads(text)["name"]
    assert "seed 7" in json.loads(text)["name"]
    epoch, taken = f"epoch ({backend})", Counter()
    for times in threads.values():
        for stack, time in times.items():
            if len(stack) == 2:
                assert stack[0] == epoch
                taken[stack[1]] += time
            else:
                assert stack in ((), (epoch,))
    assert p.n_dropped == 0
    assert taken.keys() >= p._totals.keys() - {"waiting"}
    for name, total in p._totals.items():
        if name != "waiting":  # which the pool measures around the phases of a chunk
            assert taken[name] * 1e-9 == pytest.approx(total, rel=1e-6)
    if backend == "compiled" and len(threads) == 3:
        helpers = [times for times in threads.values() if (epoch, "waiting") in times]
        assert len(helpers) >= 1
        # Of a helper, an epoch has no time but that of phases and of waiting.
        assert min(times[(epoch,)] for name, times in threads.items() if "kernels" in name) == 0


def test_a_flame_graph_of_a_solver(rng):
    X, y = problem(rng, n=2000, d=100)
    with profile(trace=True) as p:
        SoftmaxClassifier(solver="lbfgs", backend="compiled", n_jobs=1).fit(X, y)
    caller, kernels = read_flame_graph(p.as_flame_graph()).values()
    parts = {stack for stack in caller if stack}
    assert ("iteration", "preconditioner") in parts
    own = sum(time for stack, time in caller.items() if stack and stack[-1] == "iteration")
    rest = next(part for part in p.parts if part.name == recorder.REST)
    assert own * 1e-9 == pytest.approx(rest.seconds, rel=1e-6)
    assert {stack[:-1] for stack in kernels if stack and stack[-1] == "scores"} <= parts


def test_a_flame_graph_of_two_threads_that_train(rng):
    """Whose epoch a kernel works for is unknown; the epochs are those of their threads."""
    X, y = problem(rng, n=3000, d=100)
    barrier = Barrier(2)

    def fit():
        barrier.wait()
        SoftmaxClassifier(backend="compiled", max_iter=5, tol=None).fit(X, y)

    with profile(trace=True) as p:
        threads = [Thread(target=fit) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, times in read_flame_graph(p.as_flame_graph()).items():
        expected = {"epoch (compiled)"} if "Python" in name else {*recorder.NAMES}
        assert {stack for stack in times if stack} <= {(frame,) for frame in expected}


def test_spans_that_do_not_nest_are_cut():
    spans = [Span("a", 5, 20, 1), Span("b", 12, 25, 1), Span("c", 25, 25, 1), Span("d", 28, 40, 1)]
    graph = flame_graph.speedscope({"one": spans}, "", 10, 30)
    times = nanoseconds_by_stack(graph["profiles"][0], graph["shared"]["frames"])
    assert times == {("a",): 2, ("a", "b"): 8, (): 8, ("c",): 0, ("d",): 2}


def test_a_helper_waits_where_it_has_no_phase():
    phases = [Span("scores", 12, 14, -2), Span("softmax and loss", 14, 15, -2)]
    epochs = [Span("epoch", 10, 20, 1), Span("epoch", 22, 24, 1)]  # the second without the helper
    waits = [Span("waiting", 10, 12, -2), Span("waiting", 15, 20, -2)]
    assert flame_graph.waits(phases, epochs, 30) == waits
    assert flame_graph.waits(phases, epochs, 15) == waits[:1]  # later phases found no room
    assert flame_graph.around(phases, epochs) == epochs[:1]


def test_more_stretches_than_a_trace_has_room_for(rng):
    X, y = problem(rng, n=40_000, d=2, c=2)
    with profile(trace=True) as p:
        SoftmaxClassifier(backend="compiled", n_jobs=1, batch_size=1, max_iter=1).fit(X, y)
    read_flame_graph(p.as_flame_graph())
    # Of every step: gathered, scored, loss, gradient, update.
    assert p.n_dropped == 5 * 40_000 - (1 << 16)


def test_the_work_of_an_epoch():
    epoch = recorder.Epoch("compiled", 0, 1, 100, 20, 5, 10, "float32", 2000.0, 4, False, 2, True)
    work = work_of(epoch)
    assert work["gather and convert"] == (0, 0, 0)
    assert work["scores"] == (20_000, 8000, 8000)
    assert work["softmax and loss"] == (2500, 0, 0)
    assert work["gradient and update"] == (20_000 + 4000, 8000, 0)
    pixels = work_of(epoch._replace(bytes_of_value=1, is_converted=True))
    assert pixels["gather and convert"] == (0, 2000, 2000)
    assert pixels["scores"] == (20_000, 8000, 0)
    packed = work_of(epoch._replace(step_algorithm="packed"))
    assert packed["gather and convert"] == (0, 8000, 8000)
    assert packed["scores"] == (20_000, 8000, 0)
    large = epoch._replace(
        step_algorithm="packed", n_features=1000, n_classes=1000, dtype="float64", n_values=1e5
    )
    large = work_of(large._replace(bytes_of_value=8))
    weights = 10 * 1000 * 1000 * 8
    assert large["gather and convert"] == (0, 800_000, 800_000)
    assert large["scores"] == (2e8, 800_000 + weights, 0)
    assert large["gradient and update"].bytes == 800_000 + 2 * weights
    sparse = work_of(epoch._replace(n_values=300.0, bytes_of_value=8))
    assert sparse["scores"] == (3000, 2400, 2400)
    assert sparse["gradient and update"] == (3000, 2400, 0)
    naive = work_of(epoch._replace(backend="naive"))
    assert naive[recorder.TOGETHER].flop == 20_000 + 2500 + 20_000
    assert naive["gradient and update"] == (4000, 0, 0)
    numba = work_of(epoch._replace(backend="numba"))
    assert numba[recorder.TOGETHER].flop == 20_000 + 2500 + 20_000 + 4000


def test_work_adds_to_work_alone():
    assert Work(1, 2, 3) + Work(4, 5, 6) == (5, 7, 9)
    with pytest.raises(TypeError):
        Work() + 1


def test_an_epoch_over_sparse_rows_counts_the_values_stored(backend, rng):
    X, y = problem(rng)
    X[:, ::2] = 0
    with profile() as p:
        SoftmaxClassifier(backend=backend, max_iter=1, tol=None, n_jobs=1).fit(csr_array(X), y)
    assert sum(epoch.n_values for epoch in p.epochs) == 300 * 20
    assert {epoch.bytes_of_value for epoch in p.epochs} == {4 + 4}  # of a value and of its index


def test_threads_that_wait_are_seen(rng):
    X, y = problem(rng, n=4000, d=300, c=10)
    with profile() as p:
        SoftmaxClassifier(backend="compiled", n_jobs=2, max_iter=3, tol=None).fit(X, y)
    if allowed_cpus() > 1:
        assert p.n_threads == 2
        assert next(time for time in p.times if time.name == "waiting").seconds > 0
    with profile() as alone:
        SoftmaxClassifier(backend="compiled", n_jobs=1, max_iter=3, tol=None).fit(X, y)
    assert alone.n_threads == 1
    assert "waiting" not in {time.name for time in alone.times}


def test_blocks_of_one_pass_count_as_one_epoch(rng):
    X, y = problem(rng, n=3000, d=500, dtype=np.int32)
    with profile() as p:
        SoftmaxClassifier(backend="compiled", batch_size=64, max_iter=1, eta0=1e-4).fit(X, y)
    assert len(p.epochs) > 1
    assert sum(epoch.n_samples for epoch in p.epochs) == 3000
    assert p.as_record(PEAKS)["n_epochs"] == 1


def test_the_table_holds_each_number_against_the_nearer_limit(rng):
    X, y = problem(rng)
    with profile() as p:
        SoftmaxClassifier(backend="compiled", max_iter=2).fit(X, y)
    rows = {line[:20].strip(): line[20:].split() for line in p.table(PEAKS).splitlines() if line}
    assert rows["total"][1:] == ["100.0", "%"]
    assert "peak of 2 threads: 200 GFLOP/s" in p.table(PEAKS)
    assert max(map(len, p.table(PEAKS).splitlines())) <= 80
    for time in p._phase_times(PEAKS):
        if time.of_peak is not None:
            of_compute = (time.flops or 0) / 2e11
            of_memory = p._work()[time.name].memory / time.seconds / 3e10
            assert time.of_peak == max(of_compute, of_memory)
            assert time.limit == ("compute" if of_compute >= of_memory else "memory")


def test_the_picture(rng, tmp_path):
    X, y = problem(rng)
    with profile() as p:
        SoftmaxClassifier(backend="compiled", max_iter=2).fit(X, y)
    figure = p.plot(PEAKS, {"somebody": 0.5})
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [label.partition(":")[0] for label in labels] == [
        "multiply-adds",
        "memory",
        "scores",
        "gradient and update",
        "whole epoch (compiled)",
        "somebody",
    ]
    figure.savefig(tmp_path / "roofline.svg")
    assert (tmp_path / "roofline.svg").stat().st_size > 1000


def test_the_peaks_of_this_machine():
    one = measure_peaks(1)
    # What they are is no matter: other tests run beside this one.
    for peak in (one.float32, one.float64, one.read, one.copy):
        assert 0 < peak < np.inf
    assert measure_peaks(1) is one


class Machine:
    """A compiled backend whose threads reach what is said of them, a try after another."""

    def __init__(self, gains):
        self.gains, self.n_tries = gains, Counter()

    def measure_multiply_adds(self, is_double, n_rounds, n_threads):
        return self.reached("float64" if is_double else "float32", n_threads, n_rounds)

    def measure_bandwidth(self, memory, copies, n_threads):
        assert memory.size
        return self.reached("copy" if copies else "read", n_threads)

    def reached(self, name, n_threads, n_rounds=None):
        if n_rounds == roofline._FIRST_ROUNDS:  # how long it takes, not how fast it is
            return 1e12
        self.n_tries[name, n_threads] += 1
        gains = self.gains.get((name, n_threads), [n_threads])
        return 1e10 * gains[min(self.n_tries[name, n_threads], len(gains)) - 1]


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes another machine of it."""

    def make(gains):
        made = Machine(gains)
        monkeypatch.setattr(roofline, "_measured", {})
        monkeypatch.setattr(roofline, "get_backend", lambda name: made)
        monkeypatch.setattr(roofline, "allowed_cpus", lambda: 4)
        monkeypatch.setattr(roofline, "BUFFER_BYTES", 4)
        return made

    return make


def test_several_threads_are_never_said_to_be_slower_than_fewer(machine):
    made = machine({("float32", 2): [0.7], ("read", 2): [0.9] * 5 + [1.5], ("copy", 4): [1.9]})
    two = measure_peaks(2)
    assert two == Peaks(2, 1e10, 2e10, 1.5e10, 2e10, ("float32",))
    assert made.n_tries["float32", 2] == made.n_tries["read", 2] == 10  # once more
    assert made.n_tries["copy", 2] == 5
    assert measure_peaks(1) == Peaks(1, 1e10, 1e10, 1e10, 1e10)
    assert measure_peaks(100) == Peaks(4, 4e10, 4e10, 4e10, 2e10, ("copy",))
    assert measure_peaks(1).note() is None
    assert two.note().startswith("float32: 2 threads together were slower than fewer")


def test_a_table_says_that_fewer_threads_were_faster():
    with profile() as p:
        pass
    assert "slower" not in p.table(PEAKS)
    table = p.table(PEAKS._replace(by_fewer=("read",)))
    assert "read: 2 threads together were slower" in table
    assert max(map(len, table.splitlines())) < 80


def test_what_is_saved_says_where_it_comes_from(tmp_path, rng):
    with profile(trace=True, settings={"seed": 7}) as p:
        SoftmaxClassifier(max_iter=2).fit(*problem(rng))
    p.save_trace(tmp_path / "trace.json")
    record, trace = p.as_record(PEAKS), json.loads((tmp_path / "trace.json").read_text())
    for origin in (record, trace["otherData"]):
        assert origin["settings"] == {"seed": 7}
        assert origin["versions"]["fastsoftmax"] == fastsoftmax.__version__
        assert origin["machine"]["cpu"] == cpu_name()
        assert origin["date"].endswith("+00:00")
        assert origin["epochs"][0]["n_samples"] > 0
    title = p.plot(PEAKS).axes[0].get_title()
    assert f"fastsoftmax {fastsoftmax.__version__}, {record['date']}, seed 7" in title
    with pytest.raises(TypeError, match=r"^settings: expected a mapping or None, got 7"):
        profile(settings=7)


def test_nothing_heavy_is_imported():
    code = "import fastsoftmax, sys; fastsoftmax.profile; print('matplotlib' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
