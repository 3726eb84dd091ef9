"""Model files made to harm: archives, headers, bombs, and what random changes make."""

import copy
import io
import json
import pickle
import random
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from covering import few
from model_file_cases import (
    CODECS,
    fitted,
    refused,
    resealed,
)

from fastsoftmax import ModelFileError, load


def archive_of(members, compression=zipfile.ZIP_STORED):
    """An .npz file of these members, with its digest."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a member twice
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = b"fastsoftmax sha256 " + b"0" * 64
    return resealed(stream.getvalue(), ".npz")


def members_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


class Evil:
    """Says so where it is unpickled."""

    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "model.npz"
    fitted("plain").save(path)
    members = members_of(path.read_bytes())
    path.write_bytes(archive_of(members))
    load(path)  # so that what is refused below is refused for its own reason
    return path, members


def test_archives_with_other_members(archive, capsys):
    path, members = archive
    extra = npy(np.zeros(2))
    for name in ("../coef.npy", "/etc/coef.npy", "a/coef.npy", "c:\\coef.npy", "coef", "coef.npz"):
        refused(path, archive_of([*members, (name, extra)]), "a member named")
    for name in ("Coef.npy", "co\0ef.npy", "ü.npy", "x" * 9999 + ".npy", ".npy"):
        refused(path, archive_of([*members, (name, extra)]), "a member named")
    refused(path, archive_of([*members, ("coef.npy", extra)]), "two members named 'coef.npy'")
    refused(path, archive_of([*members, ("biases.npy", extra)]), "a tensor 'biases'")
    evil = npy(np.array([Evil()], object), allow_pickle=True)
    refused(path, archive_of([("coef.npy", evil), *members[:1]]), r"a pickle")
    refused(
        path, archive_of([("coef.npy", pickle.dumps(Evil())), *members[:1]]), "coef.npy: is not"
    )
    refused(path, archive_of(members[1:]), "no bytes named metadata")
    refused(path, archive_of([("metadata.npy", extra)]), "no bytes named metadata")
    refused(path, archive_of(members, zipfile.ZIP_DEFLATED), "is compressed")
    assert "unpickled" not in capsys.readouterr().out


def test_messages_do_not_quote_the_file(archive):
    path, members = archive
    data = bytearray(archive_of(members))
    data[26:28] = (2000).to_bytes(2, "little")  # the length of the first name, which zipfile shows
    refused(path, resealed(bytes(data), ".npz"), r"its archive is damaged: .*\.\.\.$")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 6), }",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 6), }",
        "{'descr': '>f8', 'fortran_order': False, 'shape': (3, 6), }",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3, 6), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 7), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -6), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3, 2), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999999, 999999999999), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (18), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': print('unpickled'), }",
        "(" * 60_000,
        "-" * 60_000 + "1",
        "",
    ],
)
def test_headers_of_arrays(header, archive, capsys):
    path, members = archive
    data = header.encode() + b"\n"
    coef = b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(3 * 6 * 8)
    refused(path, archive_of([m if m[0] != "coef.npy" else ("coef.npy", coef) for m in members]))
    assert "unpickled" not in capsys.readouterr().out


def peak_of_refusal(path, data, reason):
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=reason):
            load(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_bombs_are_not_unpacked(archive):
    path, members = archive
    zeros = npy(np.zeros(10_000_000))
    bomb = archive_of([*members[:1], ("coef.npy", zeros)], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert peak_of_refusal(path, bomb, "is compressed") < 1_000_000
    # The same with sizes that deny it: the central directory says what it likes.
    stored = bytearray(archive_of(members))
    at = stored.index(b"PK\x01\x02")
    for sizes in (b"\xff\xff\xff\x7f" * 2, b"\xf0\xff\xff\xff" * 2):
        stored[at + 20 : at + 28] = sizes
        data = resealed(bytes(stored), ".npz")
        assert peak_of_refusal(path, data, "members are longer than the file") < 1_000_000
    # Members that lie on one another: each within the file, together not.
    first = bytes(stored[at : at + 46 + len("metadata.npy")])
    sizes = (len(stored) // 2).to_bytes(4, "little") * 2
    entries = [first[:20] + sizes + first[28:46] + f"meta{c}ata.npy".encode() for c in "abc"]
    end = bytearray(stored[stored.index(b"PK\x05\x06") :])
    end[8:12] = (3).to_bytes(2, "little") * 2
    end[12:16] = sum(map(len, entries)).to_bytes(4, "little")
    data = resealed(bytes(stored[:at]) + b"".join(entries) + bytes(end), ".npz")
    assert peak_of_refusal(path, data, "members are longer than the file") < 1_000_000


@pytest.mark.costly
def test_memory_is_that_of_the_file(sound, suffix):
    path, _, metadata, tensors = sound
    widest = {"dtype": "<U16", "labels": [""] * 100_000}
    for change, reason in (
        ({"left_out": [[]] * 300_000}, "left_out"),
        ({"left_out": [{}] * 300_000}, "left_out"),
        ({"left_out": [{"": []}] * 100_000}, "left_out"),
        ({"classes": widest}, "sorted and each once"),
        ({"feature_names": [""] * 300_000}, "feature_names"),
    ):
        text = json.dumps(metadata | change, separators=(",", ":"))
        data = CODECS[suffix].pack(text, tensors)
        # 3 bytes of JSON, "[]," or "{},", are an object of 64 bytes and a pointer: 24 times as much, and
        # a dictionary in use, of 7 bytes, is one of 224. Beside it are a few copies of the text.
        assert peak_of_refusal(path, data, reason) < 48 * len(data)


def header_of(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def safetensors_of(header, numbers):
    text = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    return resealed(len(text).to_bytes(8, "little") + text + numbers, ".safetensors")


def test_headers_of_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    fitted("plain").save(path)
    header, numbers = header_of(path.read_bytes())
    path.write_bytes(safetensors_of(header, numbers))
    load(path)  # so that what is refused below is refused for its own reason
    coef = header["coef"]
    start, end = coef["data_offsets"]
    for change, reason in (
        ({"coef": coef | {"dtype": "I64"}}, "expected F32 or F64"),
        ({"coef": coef | {"dtype": ["F64"]}}, "expected F32 or F64"),
        ({"coef": coef | {"shape": [3, 7]}}, "does not fit its bytes"),
        ({"coef": coef | {"shape": [3, -6]}}, "are invalid"),
        ({"coef": coef | {"shape": [1 << 62, 1 << 62]}}, "does not fit its bytes"),
        ({"coef": coef | {"shape": [1 << 200, 1]}}, "are invalid"),
        ({"coef": coef | {"shape": [3.0, 6]}}, "are invalid"),
        ({"coef": coef | {"shape": [3, 6, 1]}}, "are invalid"),
        ({"coef": coef | {"shape": "36"}}, "are invalid"),
        ({"coef": coef | {"data_offsets": [start + 8, end + 8]}}, "do not fill|damaged"),
        ({"coef": coef | {"data_offsets": [0]}}, "are invalid"),
        ({"coef": coef | {"extra": 1}}, "expected dtype, shape and data_offsets"),
        ({"coef": []}, "expected dtype, shape and data_offsets"),
        ({"loss_curve": coef}, "do not fill|damaged"),
        (
            {"../coef": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}},
            r"tensor '\.\./coef'",
        ),
        ({"__metadata__": header["__metadata__"] | {"more": ""}}, "its metadata is not"),
        ({"__metadata__": {"sha256": "0" * 64}}, "its metadata is not"),
        ({"__metadata__": {"sha256": "0" * 64, "fastsoftmax": {}}}, "its metadata is not"),
        ({"__metadata__": None}, "no checksum"),
    ):
        refused(path, safetensors_of(header | change, numbers), reason)
    text = json.dumps(header, separators=(",", ":"))
    for broken, reason in (
        (text[:-1] + ',"coef":' + json.dumps(coef) + "}", "'coef' twice"),
        (text[:-1] + ',"x":' + "[" * 100_000, "nests too deep"),
        (text[:-1], "its header"),
        (text.replace('"coef"', '"c\xff"'), "its header"),
    ):
        refused(path, safetensors_of(broken.encode("latin-1"), numbers), reason)
    refused(path, safetensors_of(header, numbers + bytes(8)), "do not fill the file")
    refused(path, safetensors_of(header, numbers[:-8]), "do not fill the file")
    short = b'{"__metadata__":{"sha256":"' + b"0" * 63
    refused(path, len(short).to_bytes(8, "little") + short, "is truncated")
    for length in (0, 1, 1 << 40, (1 << 64) - 1):
        refused(path, length.to_bytes(8, "little") + text.encode(), "not a .safetensors|checksum")


def mutated(data, rng):
    """Bytes changed, left out, put in and moved about."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at, size = rng.randrange(len(data)), rng.choice([1, 2, 4, 8, 64])
        there = rng.randrange(len(data))
        change = rng.randrange(6)
        if change == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            data[at : at + size] = rng.randbytes(size)
        elif change == 2 and len(data) > 2 * size:
            del data[at : at + size]
        elif change == 3:
            data[at:at] = rng.randbytes(size)
        elif change == 4:
            data[at : at + size] = data[there : there + size]
        else:
            data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"'|O'", b"[[[[", b"1e99"])
    return bytes(data)


def load_or_refuse(path, data):
    path.write_bytes(data)
    try:
        return load(path)
    except ModelFileError:
        return None


@pytest.mark.thinned
@pytest.mark.parametrize("seed", range(4))
def test_mutated_files(seed, sound, suffix):
    path, data, _, _ = sound
    rng = random.Random(seed)
    for _ in few(range(500), 60):
        broken = mutated(data, rng)
        if broken != data:
            refused(path, broken)
        load_or_refuse(path, resealed(broken, suffix))  # nothing else is raised, or warned


ATOMS = [None, True, 0, -1, 3, 1 << 63, 1 << 130, 10**3000, 1.5, -1.0, "", "a", "|O", "<U999999999"]


ATOMS += ["<f8", "\ud800", [], {}, [[1]], ["<f8", 1.0], ["<f8", 1], ["<U", "x"], {"mapping": []}]


ATOMS += [{"mapping": [[1, 2], [True, []]]}, {"dtype": "T", "labels": ["a", "\ud800", "z"]}]


def mutated_json(value, rng):
    """Somewhere in it, another value, one more or one less."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return copy.deepcopy(rng.choice(ATOMS))
    value = copy.copy(value)
    at = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if rng.random() < 0.1:
        del value[at]
    else:
        value[at] = mutated_json(value[at], rng)
    return value


@pytest.mark.thinned
@pytest.mark.parametrize("seed", range(4))
def test_mutated_metadata(seed, sound, suffix):
    path, _, metadata, tensors = sound
    rng, n_loaded, tries = random.Random(seed), 0, few(range(500), 60)
    for _ in tries:
        text = json.dumps(mutated_json(metadata, rng))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*(saved without|valid feature names)")
            model = load_or_refuse(path, CODECS[suffix].pack(text, tensors))
            if model is not None:
                n_loaded += 1
                # Whether the parameters make sense is for who uses them to say.
                model.set_params(backend="auto", n_jobs=1)
                assert model.decision_function(np.zeros((1, 2))).shape == (1, 3)
    assert 0 < n_loaded < len(tries) / 2  # other values of parameters are no matter of the file
