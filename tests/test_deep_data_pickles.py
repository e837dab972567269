"""Pickles are read, not run: a foreign file can neither call anything nor exhaust the machine."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import deep_data_files as files  # noqa: E402

from lpnum_optim import deep  # noqa: E402
from lpnum_optim.deep.pickles import read_pickle  # noqa: E402


def read(tmp_path: Path, content: bytes) -> dict[str, Any]:
    path = tmp_path / "file"
    path.write_bytes(content)
    return read_pickle(path, "here")


class _Call:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


class _State:
    pass


RAN: list[str] = []


def run(what: str) -> str:
    RAN.append(what)
    return what


ATTACKS = {
    "own function": lambda mark: pickle.dumps({"data": _Call(run, "x")}),
    "shell": lambda mark: pickle.dumps({"data": _Call(os.system, f"touch {mark}")}),
    "eval": lambda mark: pickle.dumps({"data": _Call(eval, f"open({str(mark)!r}, 'w')")}),
    "file": lambda mark: pickle.dumps({"data": _Call(open, str(mark), "w")}),
    "as a key": lambda mark: pickle.dumps({_Call(run, "x"): 1}),
    "getattr": lambda mark: pickle.dumps({"data": _Call(getattr, "x", "join")}),
    "load": lambda mark: pickle.dumps({"data": _Call(np.load, str(mark))}),
    "class": lambda mark: pickle.dumps({"data": _State()}),
    "protocol 0": lambda mark: f"cos\nsystem\n(S'touch {mark}'\ntR.".encode(),
    "inst": lambda mark: f"(S'touch {mark}'\nios\nsystem\n.".encode(),
    "obj": lambda mark: b"(cos\nsystem\nX\x04\x00\x00\x00trueo.",
    "newobj": lambda mark: b"\x80\x02cbuiltins\nlist\n)\x81.",
    "stack global": lambda mark: b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "nested name": lambda mark: b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__call__\x93.",
    "name of a list": lambda mark: b"\x80\x04]]\x93.",
    "extension": lambda mark: b"\x80\x02\x82\x01.",
    "persistent": lambda mark: b"\x80\x02K\x01Q.",
    "buffer": lambda mark: b"\x80\x05\x97.",
    "call of a value": lambda mark: b"\x80\x02K\x01)R.",
    "state of a dict": lambda mark: b"\x80\x02}}b.",
    "array as a subclass": lambda mark: pickle.dumps({"data": np.ma.masked_array([1, 2])}),
    "array of objects": lambda mark: pickle.dumps({"data": np.array([run, None])}),
    "structured array": lambda mark: pickle.dumps({"data": np.zeros(2, [("a", "u1")])}),
    "array of text": lambda mark: pickle.dumps({"data": np.array(["abc"])}),
    "a list": lambda mark: pickle.dumps([1, 2]),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_a_file_names_is_run(attack: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    before = RAN.copy()
    with pytest.raises(ValueError, match=r"here: '.*file' is (damaged or not a file of images|truncated)"):
        read(tmp_path, ATTACKS[attack](mark))
    assert before == RAN
    assert not mark.exists()


def test_the_attacks_would_work_on_pickle_itself(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for attack in ("own function", "as a key", "shell", "protocol 0"):
        RAN.clear()
        mark.unlink(missing_ok=True)
        pickle.loads(ATTACKS[attack](mark))
        assert RAN or mark.exists(), attack


def test_a_set_with_a_malicious_file_is_refused(tmp_path: Path) -> None:
    folder, mark = files.cifar10(tmp_path), tmp_path / "mark"
    for name in ("batches.meta", "data_batch_1", "test_batch"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(ATTACKS["shell"](mark))
        with pytest.raises(ValueError, match=f"{name}' is damaged.*Nothing of it was run. Get the file"):
            deep.load_images(folder, "test" if name == "test_batch" else "train")
        (folder / name).write_bytes(whole)
    assert not mark.exists()
    assert len(deep.load_images(folder)) == 30


def _array(shape: bytes, data: bytes, kind: bytes = b"U\x02u1") -> bytes:
    """{"data": array} in protocol 2 with any shape (a pickled tuple) and data (a pickled string)."""
    return (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\n" + kind + b"K\x00K\x01\x87R\x89" + data + b"tbs."
    )


def test_the_array_of_the_next_test_is_a_valid_one(tmp_path: Path) -> None:
    content = read(tmp_path, _array(b"K\x02K\x03\x86", b"U\x06abcdef"))
    assert content["data"].tolist() == [[97, 98, 99], [100, 101, 102]]


LONG = b"\x8a\xff" + b"\xff" * 254 + b"\x7f"


@pytest.mark.parametrize(
    "content",
    [
        _array(b"K\x02K\x02\x86", b"U\x06abcdef"),
        _array(b"J\xff\xff\xff\xffJ\xfa\xff\xff\xff\x86", b"U\x06abcdef"),
        _array(LONG + LONG + b"\x86", b"U\x06abcdef"),
        _array(b"(" + b"K\x01" * 70 + b"t", b"U\x01a"),
        _array(b"K\x06", b"U\x06abcdef"),
        _array(b"K\x06\x85", b"]"),
        _array(b"K\x06\x85", b"U\x06abcdef", b"U\x02O8"),
        _array(b"K\x06\x85", b"U\x06abcdef", b"U\x05u1,u1"),
        _array(b"K\x06\x85", b"U\x06abcdef", b"]"),
        b"\x80\x02U\xff.",
        b"\x80\x02T\xff\xff\xff\xff.",
        b"\x80\x02B\xff\xff\xff\xff.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b".",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x02h\x00.",
        b"\x80\x02.",
        b"\x80\x02}}.",
        b"\x80\x020.",
        b"\x80\x02q\x00.",
        b"\x80\x02}(K\x01us.",
        b"\x80\x02}K\x01K\x02s.",
        b"\x80\x02(000(t.",
        b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
        b"\x80\x02c" + b"x" * 5000,
        b"\x80\x02}a.",
    ],
)
def test_a_wrong_pickle_is_an_error_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"here: '.*file'"):
        read(tmp_path, content)


def test_a_small_file_takes_little_memory_and_time(tmp_path: Path) -> None:
    # For pickle: a memo of 32 GB; a hash that recurs 200,000 times; a text 1000 times as long; lists of 10**30 numbers.
    memo = b"\x80\x02}r\xff\xff\xff\x7f."
    assert read(tmp_path, memo) == {}
    with pytest.raises(ValueError, match="key of type tuple"):
        read(tmp_path, b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.")
    text = b"\x80\x02}c_codecs\nencode\nq\x00X" + struct.pack("<I", 100_000) + b"x" * 100_000 + b"q\x01"
    repeat = b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R0"
    with pytest.raises(ValueError, match="more bytes than it holds"):
        read(tmp_path, text + repeat * 1000 + b".")
    laughs = b"]q\x00(K\x01K\x01e" + b"".join(b"0]q%c(h%ch%ce" % (k, k - 1, k - 1) for k in range(1, 100))
    with pytest.raises(ValueError, match=r"labels of shape"):
        deep.load_images(_with_labels(tmp_path / "b", laughs))
    itself = b"]q\x00h\x00a"
    with pytest.raises(ValueError, match=r"labels of shape"):
        deep.load_images(_with_labels(tmp_path / "c", itself))


def _with_labels(at: Path, labels: bytes) -> Path:
    """CIFAR-10 whose first batch has labels built by these instructions."""
    folder = files.cifar10(at, n=1)
    whole = (folder / "data_batch_1").read_bytes()
    files.dump(folder / "data_batch_1", {b"data": files.pixels(1, 0)})
    content = (folder / "data_batch_1").read_bytes()
    assert whole[:2] == content[:2] == b"\x80\x02"
    (folder / "data_batch_1").write_bytes(content[:-1] + b"U\x06labels" + labels + b"s.")
    return folder


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_and_arrays_come_as_pickle_gives_them(protocol: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "empty": b"", "long": bytes(range(256)) * 3, "text": "naïve €", "numbers": [0, -1, 255, 256, 65536, -(2**40)],
        "float": 0.1, "none": None, "truth": [True, False],
        "nested": {"a": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ()]}, "scalar": np.int64(7), "again": [[1]] * 2,
    }  # fmt: skip
    for kind in ("u1", "i4", ">i4", "f8", "?"):
        values[kind] = rng.integers(0, 2, (3, 4)).astype(kind)
        values[kind + " Fortran"] = np.asfortranarray(values[kind])
        values[kind + " empty"] = values[kind][:0]
    got = read(tmp_path, pickle.dumps(values, protocol))
    assert got.keys() == values.keys()
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(got[key], value), key
            assert got[key].dtype == value.dtype
            assert got[key].flags.f_contiguous == value.flags.f_contiguous
        else:
            assert got[key] == value, key
            assert type(got[key]) is type(value) or key == "scalar"
