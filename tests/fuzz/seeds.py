"""Small valid inputs of every target that reads files: what the fuzzer begins with, besides the corpus."""

import io
import pickle
import struct
import tarfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax.classifier.model_files.contents import contents_of
from fastsoftmax.persistence import npz, safe_tensors
from fastsoftmax.persistence.strict_json import written

from . import model_targets, reader_targets
from .decoding import folder

PIXELS = b"<3072>"
NEXT = b"<next>"


def _with(content: bytes, *choices: int) -> bytes:
    """An input of a reader: what it chooses, and the file."""
    return bytes(choices).ljust(reader_targets.N_CHOICES, b"\0") + content


def _pickled(pixels: Any, protocol: int, key: str = "labels", n: int = 1) -> bytes:
    """A batch of CIFAR, with the mark of 3072 pixels in the place of them."""
    batch = {key: list(range(n)), "data": np.zeros((n, 3072), np.uint8), "filenames": ["a"] * n}
    if key == "fine_labels":
        batch["coarse_labels"] = batch[key]
    return pickle.dumps(batch, protocol=protocol).replace(bytes(3072), PIXELS)


def _python_2_pickle() -> bytes:
    """The opcodes that Python 2 and NumPy of its time wrote."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1K\1M\0\x0c\x86"
    )
    array += (
        b"cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89"
    )
    array += b"T\0\x0c\0\0" + PIXELS + b"tb"
    return b"\x80\2}(U\6labels](K\3eU\4data" + array + b"u."


def cifar() -> list[bytes]:
    batches = [_pickled(None, protocol, n=n) for protocol in (2, 4) for n in (1, 2)]
    batches += [_pickled(None, 2, "fine_labels"), _python_2_pickle()]
    return [*map(_with, batches), _with(batches[4], 2)]


def cifar_archive() -> list[bytes]:
    found = []
    for names in (("train", "test"), ("test_batch", "batches.meta")):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name in names:
                content = pickle.dumps({"label_names": ["a"] * 10}, protocol=2)
                if name != "batches.meta":
                    content = _pickled(None, 2, "fine_labels").replace(PIXELS, bytes(3072))
                info = tarfile.TarInfo(f"cifar/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        short = stream.getvalue().rstrip(b"\0").replace(bytes(3072), PIXELS)
        found += [_with(short + bytes(1024), split, kind) for split in (0, 1) for kind in (0, 1)]
    return found


def _matlab(order: str, is_packed: bool) -> bytes:
    def element(kind: int, data: bytes) -> bytes:
        size = len(data) + (3072 - len(PIXELS)) * data.count(PIXELS)
        return struct.pack(f"{order}II", kind, size) + data + bytes(-size % 8)

    def array(name: bytes, class_: int, shape: tuple[int, ...], data: bytes) -> bytes:
        flags = element(6, struct.pack(f"{order}II", class_, 0))
        sizes = element(5, struct.pack(f"{order}{len(shape)}i", *shape))
        return element(14, flags + sizes + element(1, name) + element(2, data))

    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x100)
    header += b"IM" if order == "<" else b"MI"
    arrays = [array(b"X", 9, (32, 32, 3, 1), PIXELS), array(b"y", 6, (1, 1), bytes([10]))]
    return header + (NEXT if is_packed else b"").join(arrays)


def svhn() -> list[bytes]:
    packed = [_with(_matlab(order, True), 1) for order in "<>"]
    return packed + [_with(_matlab(order, False)) for order in "<>"]


def _idx(array: Any, code: int, dtype: str) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(dtype).tobytes()


def idx() -> list[bytes]:
    pairs = [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
    images, labels = np.arange(12).reshape(2, 2, 3), np.array([1, 0])
    found = [_idx(images, *pair) + NEXT + _idx(labels, *pair) for pair in pairs]
    return [_with(content, 1, kind, 1) for content in found for kind in (0, 1)]


def libsvm() -> list[bytes]:
    text = b"# a comment\n+1 1:0.5 3:-2e-1\n-1 2:1 # another\n3 qid:2 1:1\n0\n"
    short = b"1 0:1 4:2.5\n2 1:-1e3\n"
    found = [_with(text), _with(short, 1, 3, 1), _with(text, 2, 2)]
    return [*found, _with(short, 0, 0, 0, 2), _with(text, 3, 0, 2, 1)]


def _npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version, allow_pickle=False)
    return stream.getvalue()


_SAMPLES = (
    np.arange(6, dtype="u1").reshape(2, 3),
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)),
    np.arange(24, dtype="i8").reshape(2, 2, 2, 3),
)
_LABELS = (np.array([1, 0]), np.array(["a", "bc"]), np.array([True, False]), np.eye(2))


def npy() -> list[bytes]:
    pairs = zip(_SAMPLES, _LABELS, strict=True)
    found = [_with(_npy(X) + NEXT + _npy(y), 1, 1) for X, y in pairs]
    return [*found, _with(_npy(_SAMPLES[0], (2, 0)))]


def npz_samples() -> list[bytes]:
    found = []
    for X, y in zip(_SAMPLES, _LABELS, strict=True):
        members = b"X.npy=" + _npy(X) + NEXT + b"y.npy=" + _npy(y)
        found += [_with(members, mode, 0, 0, 1) for mode in (1, 2)]
    stream = io.BytesIO()
    np.savez(stream, x_train=_SAMPLES[0], y_train=_LABELS[0], x_test=_SAMPLES[0], y_test=_LABELS[0])
    return [*found, _with(stream.getvalue(), 0, 1, 0, 1)]


def csv() -> list[bytes]:
    texts = [
        b"label,a,b\n1,2,3\n0,5,6\n",
        b"a,b,class\n1.5,2,x\n-3e2,4,y\n",
        b"1,2,3\n4,5,6\n",
        b'"a ""b""",y\r\n1,"x,1"\r\n2,"z"\r\n',
        b"\xef\xbb\xbfa;label\n1;2\n",
        b"a,b,y\n1,,x\nnan,2,\n",
        b"a,y\n2020-01-01,1\ntrue,0\n",
        b"a,y\n" + b"1,0\n" * 30 + b'0.5,"b\nb"\n',  # types of a later block
    ]
    found = [*map(_with, texts), _with(texts[2], 2, 0, 2, 1), _with(texts[4], 1, 2, 1, 0, 1)]
    columns = [_with(text, 0, 0, 0, 0, 0, kind) for text in texts[:2] for kind in (1, 2)]
    return [*found, *columns, _with(texts[0].replace(b",", b"\t"), 0, 3, 4, 0, 2)]


def parquet() -> list[bytes]:
    import pyarrow
    from pyarrow.parquet import write_table

    words = pyarrow.array(["x", "y", "x"])
    tables = [
        {"a": [1.5, 2.5, 3.5], "label": [0, 1, 0]},
        {"a": pyarrow.array([1, 2, 3], "uint8"), "y": words},
        {"a": pyarrow.array([1, 2, 3], "float32"), "y": words.dictionary_encode()},
        {"a": [1, None, 3], "b": [True, False, True], "y": [1, 2, 3]},
        {"a": [[1], [2], [3]], "y": [1, 2, 3]},
        {"a": [[1.5, 2], [3, 4], [5, 6]], "b": ["p", "q", "r"], "y": [1, 2, 3]},
    ]
    found = []
    for options in ({"compression": "none", "use_dictionary": False}, {"compression": "snappy"}):
        for columns in tables:
            stream = io.BytesIO()
            table = pyarrow.table(columns)
            write_table(table, stream, store_schema=False, write_statistics=False, **options)
            found += [
                _with(stream.getvalue(), 0, 0, kind) for kind in range(3 if "b" in columns else 1)
            ]
    return found


def any_format() -> list[bytes]:
    inputs = [libsvm()[1], csv()[0], npy()[-1], npz_samples()[-1], idx()[0], parquet()[0]]
    inputs += [svhn()[2], cifar()[0]]
    files = [content[reader_targets.N_CHOICES :] for content in inputs]
    return [_with(file.partition(NEXT)[0]) for file in files]


def _models() -> list[Any]:
    options = [
        {},
        {"momentum": 0.9, "average": True, "standardize": True},
        {"early_stopping": True, "class_weight": {"a": 2, "b": 0.5}, "fit_intercept": False},
    ]
    X, y = model_targets.X, np.array(["a", "b"])[model_targets.Y]
    days = model_targets.Y.astype("M8[D]")
    common: dict[str, Any] = {"max_iter": 2, "tol": None, "random_state": 0, "eta0": 0.1}
    return [
        fastsoftmax.SoftmaxClassifier(**common, **more).fit(X, labels)
        for more in options
        for labels in ((y,) if "class_weight" in more else (y, model_targets.Y, days))
    ]


def _parts(text: str, tensors: dict[str, Any]) -> bytes:
    """As `model_targets` takes a file apart, with numbers of the bits that they have."""
    content = struct.pack("<H", len(text)) + text.encode() + bytes([len(tensors)])
    for name, array in tensors.items():
        place = model_targets._NAMES.index(name)
        # Sizes of more than one byte, or than the target makes, there are none of.
        sizes = (*array.shape, 0, 0)[:2]
        content += bytes([place, 0, array.ndim, *sizes, 7, 0]) + array.tobytes()
    return content


def _model_files(codec: Any) -> list[bytes]:
    found = []
    for model in _models():
        contents, _ = contents_of(model)
        text = written(contents.metadata)
        whole = codec.pack(text, contents.tensors)
        found += [bytes([0]) + whole, bytes([1]) + whole]
        found.append(bytes([2]) + _parts(text, contents.tensors))
    return found


def checkpoint() -> list[bytes]:
    found = []
    for fit in range(len(model_targets.FITS)):
        path = folder() / "seed.npz"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastsoftmax.ConvergenceWarning)
            model_targets.fit_with(fit, path, False)
        content = path.read_bytes()
        path.unlink()
        text, tensors = npz.unpack(content)
        found += [bytes([fit, mode]) + content for mode in (0, 1)]
        found.append(bytes([fit, 2]) + _parts(text.decode(), tensors))
    return found


def stored_run() -> list[bytes]:
    """Two records of each command, in which everything is as short as it may be."""
    machine = {"cpu": "a", "instruction_set": None, "cpus": 2, "system": "b", "load_before": 0.1}
    head = {"date": "c", "machine": machine, "versions": {"fastsoftmax": "0.1.0", "numpy": "2"}}
    settings = {"n_train": 9, "dtype": "float32", "epochs": 4}
    bench, profile = [], []
    for i in (1, 2):
        times = [i + 0.1, i + 0.2, i + 0.3, i + 0.4]
        result = {"backend": "naive", "n_rows_timed": 9, "epoch_seconds": times}
        bench.append({**head, "settings": settings, "results": [result]})
        epochs = [{"backend": "naive", "start": k, "end": k + i, "is_last": True} for k in range(4)]
        totals = {"seconds": 1.5, "n_epochs": 4, "phases": [{"name": "scores", "seconds": i}]}
        profile.append({**head, "settings": settings, **totals, "epochs": epochs})
    texts = [[written(record).encode() for record in records] for records in (bench, profile)]
    return [bytes([kind]) + NEXT.join(pair) for kind, pair in enumerate(texts)]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "cifar": cifar,
    "cifar_archive": cifar_archive,
    "svhn": svhn,
    "idx": idx,
    "libsvm": libsvm,
    "npy": npy,
    "npz": npz_samples,
    "csv": csv,
    "parquet": parquet,
    "any_format": any_format,
    "model_npz": partial(_model_files, npz),
    "model_safetensors": partial(_model_files, safe_tensors),
    "checkpoint": checkpoint,
    "stored_run": stored_run,
}


def seeds_of(target: str) -> list[bytes]:
    """The seeds of a target; one that takes any bytes begins with some of each value."""
    if target in SEEDS:
        return SEEDS[target]()
    rng = np.random.default_rng(0)
    return [bytes(60), *(rng.integers(256, size=60, dtype="u1").tobytes() for _ in range(20))]
