"""Golden files load for ever; files that were changed, cut or made up are refused, with bounded memory."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from file_arrays import blocks, little_memory, loaded, same, saved, several
from hypothesis import example, given
from hypothesis import strategies as st

import lpnum
from lpnum import _schema

GOLDEN = Path(__file__).parent / "golden"

# ---- golden files: must load for ever -------------------------------------------------------------------------------


def test_golden_files_load_and_the_present_layout_is_theirs():
    """Files written by version 1 of the layout. Never change them; a new layout adds files."""
    expected = {"several_v1.npz": several(), "single_v1.npz": several()["fixed8"], "blocks_v1.npz": blocks()}
    assert {path.name for path in GOLDEN.glob("*.npz")} == set(expected)
    for name, arrays in expected.items():
        back = lpnum.load(GOLDEN / name)
        pairs = [(back[k], x) for k, x in arrays.items()] if isinstance(arrays, dict) else [(back, arrays)]
        for got, wanted in pairs:
            same(got, wanted)
        with np.load(GOLDEN / name) as old, np.load(io.BytesIO(saved(arrays))) as new:
            assert old.files == new.files
            assert all(np.array_equal(old[k], new[k]) for k in old.files if k != "lpnum.json")
            assert json.loads(old["lpnum.json"]) == json.loads(new["lpnum.json"])


# ---- damaged files --------------------------------------------------------------------------------------------------

INTACT = (GOLDEN / "several_v1.npz").read_bytes()


@example(edits=[(len(INTACT) - 6, 0xFF)], cut=0)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(INTACT) - 1), st.integers(1, 255)), max_size=4),
    cut=st.integers(0, len(INTACT)) | st.just(0),
)
def test_a_file_with_changed_bytes_is_refused_or_read_as_it_was(edits, cut):
    data = bytearray(INTACT)
    for place, bits in edits:
        data[place] ^= bits
    with warnings.catch_warnings(), little_memory(1 << 21):
        warnings.simplefilter("error")
        try:
            back = loaded(bytes(data[: len(data) - cut]))
        except ValueError:  # and nothing else
            return
    for name, x in several().items():
        same(back[name], x)


def test_every_single_changed_byte_is_noticed_or_harmless():
    small = saved(several()["narrow"])
    refused = 0
    for place in range(len(small)):
        data = bytearray(small)
        data[place] ^= 0x10
        try:
            same(loaded(bytes(data)), several()["narrow"])
        except ValueError:
            refused += 1
    assert refused > len(small) // 2


def test_every_truncation_is_refused():
    small = saved(several()["narrow"])
    for length in range(len(small)):
        with pytest.raises(ValueError, match=r"^lpnum\.load"):
            loaded(small[:length])


def rezipped(change, data=None, compression=zipfile.ZIP_STORED):
    """A file with valid checksums whose members were changed by `change(members)`."""
    with zipfile.ZipFile(io.BytesIO(saved(x=several()["channels"]) if data is None else data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def header(**changes):
    """A change of the JSON header: keys of the array's entry, or with a leading underscore of the header itself."""

    def change(members):
        content = json.loads(members["lpnum.json"])
        for key, value in changes.items():
            place = content if key.startswith("_") else content["arrays"]["x"]
            if value is ...:
                del place[key.lstrip("_")]
            else:
                place[key.lstrip("_")] = value
        members["lpnum.json"] = json.dumps(content).encode()

    return change


def text(content):
    return lambda members: members.update({"lpnum.json": content})


def codes(array, **options):
    def change(members):
        out = io.BytesIO()
        np.lib.format.write_array(out, array, **{"version": (1, 0), **options})
        members["x.codes.npy"] = out.getvalue()

    return change


def npy_header(old, new):
    def change(members):
        content = members["x.codes.npy"]
        assert old in content
        members["x.codes.npy"] = content[:100].replace(old, new)[:100] + content[100:]

    return change


FIXED8 = {"family": "fixed", "bits": 8, "frac": None, "signed": True}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (header(_lpnum=2), "version 2 .* install a newer lpnum"),
        (header(_lpnum=0), "version"),
        (header(_lpnum=True), "version"),
        (header(_lpnum=...), "version"),
        (header(_generators=...), "expected the fields"),
        (header(_new=1), "expected the fields"),
        (header(_arrays=[]), "'arrays' must be an object"),
        (header(_single=1), "'single'"),
        (header(_generators=[{"seed": -1, "stream": 0}]), "seed must be"),
        (header(_generators=[{"seed": 1}]), "expected the fields"),
        (header(_generators={}), "must be a list"),
        (header(kind="pickle"), "kind of an array"),
        (header(kind=["LPArray"]), "kind of an array"),
        (header(extra=1), "expected the fields"),
        (header(scale=True), 'a number or "array"'),
        (header(scale=None), 'a number or "array"'),
        (header(scale="1"), 'a number or "array"'),
        (header(offset=1.0), "x.offset.npy"),
        (header(dtype="int32"), "float32 or float64"),
        (header(dtype=["float32"]), "float32 or float64"),
        (header(rounding="up"), "rounding"),
        (header(overflow=3), "overflow"),
        (header(rng=0), "no random generator"),
        (header(rng=-1), "no random generator"),
        (header(format={**FIXED8, "family": "object"}), "family"),
        (header(format={**FIXED8, "family": None}), "family"),
        (header(format="fixed8"), "family"),
        (header(format={**FIXED8, "bits": 99}), "from 2 to 16"),
        (header(format={**FIXED8, "bits": 8.0}), "bits of a fixed format must be int"),
        (header(format={**FIXED8, "bits": True}), "bits of a fixed format must be int"),
        (header(format={**FIXED8, "signed": 1}), "signed of a fixed format must be bool"),
        (header(format={**FIXED8, "frac": FIXED8}), "frac of a fixed format must be int"),
        (header(format={**FIXED8, "name": "x"}), "expected the fields"),
        (header(format={**FIXED8, "bits": 16}), "has dtype int8, and the header asks for int16"),
        (header(format={**FIXED8, "bits": 3}), "codes from -6 to 5"),
        (header(format={**FIXED8, "signed": False}), "has dtype int8"),
        (text(b"\xff"), "cannot be read"),
        (text(b"[" * 100_000), "cannot be read"),
        (text(b"1" * 10_000), "cannot be read|not an object"),
        (text(b"[]"), "not an object"),
        (text(b'{"lpnum":1,"lpnum":1}'), "occurs twice"),
        (text(b'{"lpnum":NaN}'), "not JSON"),
        (text(b" " * (_schema.MAX_HEADER + 1)), "the header has"),
        (codes(np.zeros((3, 4), np.int16)), "has dtype int16"),
        (codes(np.zeros((3, 4), np.float64)), "has dtype float64"),
        (codes(np.array([None] * 3), allow_pickle=True), "malformed npy header"),
        (codes(np.zeros(3, "i1,i1")), "malformed npy header"),
        (codes(np.zeros((3, 4), np.int8), version=(2, 0)), "npy format 1.0"),
        (codes(np.zeros((4, 3), np.int8)), "does not fit the array's shape"),
        (codes(np.zeros(12, np.int8)), "does not fit the array's shape"),
        (codes(np.zeros((3, 0), np.int8)), "does not fit the array's shape"),
        (npy_header(b"(3, 4), }            ", b"(300000000, 40000), }"), "takes 12000000"),
        (npy_header(b"(3, 4), }                  ", b"(0, 4000000000000000000), }"), "takes"),
        (npy_header(b"(3, 4), }", b"(3,-4), }"), "malformed npy header"),
        (npy_header(b"(3, 4), }", b"(3, []),}"), "malformed npy header"),
        (npy_header(b"False", b"None "), "malformed npy header"),
        (lambda m: m.update({"x.codes.npy": m["x.codes.npy"][:-1]}), "takes 140 bytes, and has 139"),
        (lambda m: m.update({"x.codes.npy": m["x.codes.npy"] + b"\0"}), "takes 140 bytes, and has 141"),
        (lambda m: m.update({"x.codes.npy": b""}), "ends too early"),
        (lambda m: m.pop("x.scale.npy"), "lacks 'x.scale.npy'"),
        (lambda m: m.update({"y.codes.npy": b""}), "holds 'y.codes.npy'"),
        (lambda m: m.pop("lpnum.json"), "no header"),
    ],
)
def test_a_consistent_zip_with_wrong_content_is_refused(change, words):
    file = io.BytesIO(rezipped(change))
    with little_memory(4 << 20), pytest.raises(ValueError, match=words) as error:
        lpnum.load(file)
    assert str(error.value).startswith("lpnum.load: ")


@pytest.mark.parametrize(
    ("value", "words"),
    [("0", "must not be 0"), ("1e-999", "must not be 0"), ("1e999", "finite"), ("1" + 400 * "0", "beyond")],
)
def test_a_number_that_is_no_scale_is_refused(value, words):
    def change(members):
        members["lpnum.json"] = members["lpnum.json"].replace(b'"scale":0.1', f'"scale":{value}'.encode())

    with pytest.raises(ValueError, match=words):
        loaded(rezipped(change, saved(x=several()["fixed8"])))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
def test_an_array_of_scales_that_are_no_scales_is_refused(value):
    data, scale = saved(x=several()["channels"]), np.array([0.1, 0.25, 3e-300])

    def change(members):
        content = members["x.scale.npy"]
        members["x.scale.npy"] = content.replace(scale.tobytes(), np.array([0.1, value, 1.0]).tobytes())
        assert content != members["x.scale.npy"]

    with pytest.raises(ValueError, match="scale: must be finite and not 0"):
        loaded(rezipped(change, data))


def test_a_rezipped_file_is_read_and_a_compressed_one_refused():
    same(loaded(rezipped(lambda members: None))["x"], several()["channels"])
    bomb = saved(x=lpnum.zeros(10_000_000))
    file = io.BytesIO(rezipped(lambda members: None, bomb, zipfile.ZIP_DEFLATED))
    with little_memory(1 << 20), pytest.raises(ValueError, match="is compressed"):
        lpnum.load(file)


def test_other_files_are_named_for_what_they_are():
    for data, words in (
        (b"", "not a zip"),
        (b"\x93NUMPY", "not a zip"),
        (struct.pack("<Q", 2) + b"{}", "is a safetensors file.*load_safetensors"),
        (b"PK\3\4 and nothing", "damaged"),
    ):
        with pytest.raises(ValueError, match=words):
            loaded(data)
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    with pytest.raises(ValueError, match=r"numpy\.load reads plain npz"):
        loaded(file.getvalue())


def test_two_members_of_one_name_are_refused():
    file = io.BytesIO(saved(several()["fixed8"]))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("array.codes.npy", b"other")
    with pytest.raises(ValueError, match="two members have one name"):
        loaded(file.getvalue())


def test_members_inside_members_are_refused():
    inner = zipfile.ZipInfo("x.scale.npy")
    content = bytes(5000)
    inner.file_size = inner.compress_size = len(content)
    inner.CRC = zipfile.crc32(content)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.codes.npy", inner.FileHeader() + content)
        inner.header_offset = archive.infolist()[0].header_offset + 30 + len("x.codes.npy")
        archive.filelist.append(inner)
    with pytest.raises(ValueError, match="longer than the file"):
        loaded(file.getvalue())


def test_a_member_that_claims_more_than_the_file_has_is_refused_before_anything_is_allocated():
    data = bytearray(saved(several()["fixed8"]))
    directory = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    struct.pack_into("<LL", data, directory + 20, 1 << 31, 1 << 31)
    with little_memory(1 << 20), pytest.raises(ValueError, match="longer than the file"):
        loaded(bytes(data))


@given(edits=st.lists(st.tuples(st.integers(0, len(INTACT) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_mapped_file_with_changed_bytes_is_refused_or_gives_arrays_that_keep_their_invariants(edits, tmp_path):
    data = bytearray(INTACT)
    for place, bits in edits:
        data[place] ^= bits
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with warnings.catch_warnings(), little_memory(1 << 21):
        warnings.simplefilter("error")
        try:
            back = lpnum.load(path, mmap=True)
        except ValueError:  # and nothing else
            return
        for x in back.values():
            if isinstance(x, lpnum.LPArray):
                lpnum.LPArray(x.codes, x.format, x.scale, x.offset, x.dtype, rounding=x.rounding, overflow=x.overflow)
