"""safetensors files: other programs read what lpnum writes, and lpnum what they write; damage is refused."""

from __future__ import annotations

import io
import json
import warnings

import numpy as np
import pytest
from file_arrays import little_memory, same, several
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum import _safetensors, testing

FLOATS = [fmt for fmt in lpnum.formats.named().values() if isinstance(fmt, lpnum.FloatFormat)]


def saved(*args, **named):
    file = io.BytesIO()
    lpnum.save_safetensors(file, *args, **named)
    return file.getvalue()


def loaded(data, **options):
    return lpnum.load_safetensors(io.BytesIO(data), **options)


def storable():
    """Arrays of every kind that the file has a dtype for."""
    return {name: x for name, x in several().items() if name != "complex"} | {"c64": np.ones(2, np.complex64)}


def header_of(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def file_of(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


# ---- round trips ----------------------------------------------------------------------------------------------------


@given(x=testing.lp_arrays())
def test_any_fixed_point_array_comes_back_to_the_bit(x):
    same(loaded(saved(x=x))["x"], x)


@pytest.mark.parametrize("mmap", [False, True, "c"])
def test_arrays_of_every_kind_come_back_with_policies_and_generators(mmap, tmp_path):
    path = tmp_path / "x.safetensors"
    lpnum.save_safetensors(path, storable(), metadata={"license": "MIT"})
    back = lpnum.load_safetensors(path, mmap=mmap)
    assert set(back) == set(storable())
    for name, x in storable().items():
        if isinstance(x, lpnum.LPArray):
            same(back[name], x)
        else:
            np.testing.assert_array_equal(back[name], x)
    assert back["random"].rng is back["random too"].rng
    assert back["fixed8"].codes.flags.writeable == (mmap is not True)
    assert header_of(path.read_bytes())["__metadata__"]["license"] == "MIT"


@pytest.mark.parametrize("fmt", FLOATS, ids=repr)
def test_every_float_format_comes_back_and_has_the_files_own_dtype_where_there_is_one(fmt):
    x = lpnum.from_codes(fmt.all_codes(), fmt)
    data = saved(w=x)
    same(loaded(data)["w"], x)
    dtype = header_of(data)["w"]["dtype"]
    assert dtype == _safetensors.DTYPE_OF_FORMAT.get(fmt, "U8")


@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (0,), (2, 0), (2, 6), (4, 3, 2)])
def test_float4_is_packed_where_it_can_be(shape):
    x = lpnum.from_codes(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 16, lpnum.float4_e2m1fn, scale=0.5)
    data = saved(x=x)
    same(loaded(data)["x"], x)
    packed = len(shape) > 0 and shape[-1] % 2 == 0
    assert header_of(data)["x"] == {
        "dtype": "F4" if packed else "U8",
        "shape": list(shape),
        "data_offsets": [8, 8 + x.size // (2 if packed else 1)],
    }


def test_scale_and_offset_are_tensors_beside_the_codes():
    data = saved(w=several()["channels"], v=lpnum.array([1.0, -0.5]), u=lpnum.ones(2))
    header = header_of(data)
    assert set(header) == {"__metadata__", "w", "w_scale", "w_offset", "v", "v_scale", "u"}
    assert header["w_scale"]["dtype"] == "F64"
    assert header["w_scale"]["shape"] == [3, 1]
    assert header["v_scale"]["shape"] == []
    begin = 8 + int.from_bytes(data[:8], "little")
    assert begin % 64 == 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = np.dtype(_safetensors.STORAGE[entry["dtype"]]).itemsize
            assert (begin + entry["data_offsets"][0]) % size == 0


# ---- with other programs --------------------------------------------------------------------------------------------


def test_the_package_reads_what_lpnum_writes():
    safetensors = pytest.importorskip("safetensors")
    data = saved(storable(), metadata={"license": "MIT"})
    tensors = dict(safetensors.deserialize(data))
    assert bytes(tensors["fixed8"]["data"]) == several()["fixed8"].codes.tobytes()
    assert tensors["float8"]["dtype"] == "F8_E4M3"
    assert np.frombuffer(tensors["channels_offset"]["data"]).tolist() == [1, 2, 3, 4]
    assert bytes(tensors["layers/0.weight"]["data"]) == several()["fixed8"].codes.tobytes()  # F order in memory


def test_numpy_arrays_written_by_the_package_are_read():
    sn = pytest.importorskip("safetensors.numpy")
    names = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    arrays = {name: np.arange(6).reshape(2, 3).astype(name) for name in (*names, "float16", "float32", "float64")}
    arrays["empty"], arrays["zero_d"] = np.zeros((0, 3)), np.array(2.5)
    back = loaded(sn.save(arrays))
    assert set(back) == set(arrays)
    for name, x in arrays.items():
        same(back[name], x)


def test_torch_reads_what_lpnum_writes_and_the_other_way_round(tmp_path):
    torch = pytest.importorskip("torch")
    st_torch = pytest.importorskip("safetensors.torch")
    path = tmp_path / "x.safetensors"
    formats = {"float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz", "bfloat16"}
    arrays = {name: lpnum.from_codes(np.arange(256), name) for name in sorted(formats)}
    arrays["float4_e2m1fn_x2"] = lpnum.from_codes(np.arange(16), "float4_e2m1fn")
    lpnum.save_safetensors(path, arrays)
    tensors = st_torch.load_file(path)
    for name, x in arrays.items():
        assert tensors[name].dtype == getattr(torch, name)
        if name in formats:
            np.testing.assert_array_equal(tensors[name].double().numpy(), np.asarray(x))
    st_torch.save_file(tensors, path)
    for name, x in lpnum.load_safetensors(path).items():
        same(x, arrays[name])


def test_scales_of_other_programs_are_taken_by_their_suffix():
    codes = bytes([0x38, 0xB8, 0x40, 0x00])  # 1, -1, 2, 0 in float8_e4m3fn
    scale = np.array([[0.5], [4.0]], np.float32).tobytes()
    header = {
        "w": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]},
        "w_scale": {"dtype": "F32", "shape": [2, 1], "data_offsets": [4, 12]},
        "i": {"dtype": "I8", "shape": [2], "data_offsets": [12, 14]},
        "i_scale": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [14, 15]},
        "free_scale": {"dtype": "U8", "shape": [], "data_offsets": [15, 16]},
    }
    data = file_of(header, codes + scale + bytes([1, 255, 0x40, 7]))
    back = loaded(data, scale_suffix="_scale")
    assert set(back) == {"w", "i", "free_scale"}
    assert np.asarray(back["w"]).tolist() == [[0.5, -0.5], [8.0, 0.0]]
    assert np.asarray(back["i"]).tolist() == [2.0, -2.0]
    assert back["i"].format == lpnum.fixed8
    assert set(loaded(data)) == set(header)
    assert type(loaded(data)["i"]) is np.ndarray
    header["w_scale"]["shape"] = [1, 1, 2]
    with pytest.raises(ValueError, match=r"'w_scale' does not serve as the scale of 'w'.*broadcast"):
        loaded(file_of(header, data[-16:]), scale_suffix="_scale")


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: saved(lpnum.ones(2)), TypeError, "mapping"),
        (lambda: saved(), ValueError, "no array"),
        (lambda: saved(x=[1.0]), TypeError, "LPArray or a numpy.ndarray"),
        (lambda: saved(x=np.ones(2, complex)), TypeError, "no dtype for complex128"),
        (lambda: saved(x=lpnum.array([1.0, 0.3]), x_scale=np.ones(1)), ValueError, "two tensors .* 'x_scale'"),
        (lambda: saved({"__metadata__": np.ones(1)}), ValueError, "__metadata__"),
        (lambda: saved(x=np.ones(1), metadata={"lpnum": ""}), TypeError, "without the key 'lpnum'"),
        (lambda: saved(x=np.ones(1), metadata={"a": 1}), TypeError, "str to str"),
        (lambda: loaded(b""), ValueError, "header of 0 bytes"),
        (lambda: loaded(b"PK\3\4aaaaaaaaaa"), ValueError, "zip archive.*lpnum.load "),
        (lambda: loaded(b"\xff" * 20), ValueError, "does not fit"),
        (lambda: loaded(b"{}", mmap=True), ValueError, "needs a path"),
    ],
)
def test_bad_calls_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def entry(dtype="U8", shape=(2,), offsets=(0, 2), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def own(**changes):
    """The metadata of lpnum for a float8 array `a`, with changes of its entry."""
    text = header_of(saved(a=lpnum.ones(2, lpnum.float8_e5m2)))["__metadata__"]["lpnum"]
    content = json.loads(text)
    content["arrays"]["a"].update(changes)
    return {"lpnum": json.dumps(content)}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ([], "no JSON header"),
        (b"{", "cannot be read"),
        (b'{"a":1,"a":2}', "occurs twice"),
        ({"a": 1}, "expected the fields"),
        ({"a": entry(extra=1)}, "expected the fields"),
        ({"a": entry("F8_E9M9")}, "dtype 'F8_E9M9' is not known"),
        ({"a": entry(["U8"])}, "is not known"),
        ({"a": entry(shape=(3,))}, "takes 24 bits, and has 2 bytes"),
        ({"a": entry("F4", shape=(3,))}, "takes 12 bits, and has 2 bytes"),
        ({"a": entry(shape=(1 << 62, 1 << 62))}, "takes"),
        ({"a": entry(shape=(True, 2))}, "a list of sizes"),
        ({"a": entry(shape=(-2, -1))}, "a list of sizes"),
        ({"a": entry(shape=(2.0,))}, "a list of sizes"),
        ({"a": entry(offsets=(2, 0), shape=())}, "no range"),
        ({"a": entry(offsets=(0, 1, 2))}, "no range"),
        ({"a": entry(), "b": entry()}, "begins at 0"),
        ({"a": entry(offsets=(1, 3))}, "begins at 1"),
        ({}, "end at"),
        ({"a": entry(shape=(1 << 40,), offsets=(0, 1 << 40))}, "end at"),
        ({"a": entry(shape=(0, *(70 * [1])), offsets=(0, 0)), "b": entry()}, "dimension"),
        ({"a": entry("BOOL")}, "bools other than 0 and 1"),
        ({"__metadata__": {"x": 1}, "a": entry()}, "texts to texts"),
        ({"__metadata__": [], "a": entry()}, "texts to texts"),
        ({"__metadata__": {"lpnum": "{}"}, "a": entry()}, "version"),
        ({"__metadata__": {"lpnum": '{"lpnum":2}'}, "a": entry()}, "newer lpnum"),
        ({"__metadata__": {"lpnum": '{"lpnum":1,"arrays":[],"generators":[]}'}, "a": entry()}, "must be an object"),
        ({"__metadata__": own(), "b": entry()}, "lacks the tensor 'a'"),
        ({"__metadata__": own(), "a": entry("I8")}, "the codes are int8, and not uint8"),
        ({"__metadata__": own(), "a": entry("F8_E4M3")}, "the format is lpnum.float8_e5m2, and that of the tensor"),
        ({"__metadata__": own(scale=0), "a": entry("F8_E5M2")}, "must not be 0"),
        ({"__metadata__": own(scale="array"), "a": entry("F8_E5M2")}, "lacks the tensor 'a_scale'"),
        ({"__metadata__": own(kind="BlockThing"), "a": entry("F8_E5M2")}, "kind"),
    ],
)
def test_a_made_up_file_is_refused(header, words):
    data = file_of(header, b"\1\2")
    with little_memory(1 << 20), pytest.raises(ValueError, match=words) as error:
        loaded(data)
    assert str(error.value).startswith("lpnum.load_safetensors: ")


def test_every_truncation_is_refused():
    data = saved(storable())
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"^lpnum\.load_safetensors"):
            loaded(data[:length])


INTACT = saved(storable())


@given(edits=st.lists(st.tuples(st.integers(0, len(INTACT) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_file_with_changed_bytes_is_refused_or_gives_arrays_that_keep_their_invariants(edits):
    # The layout has no checksums, so that changed codes are other codes; but never codes outside of the format.
    data = bytearray(INTACT)
    for place, bits in edits:
        data[place] ^= bits
    with warnings.catch_warnings(), little_memory(1 << 21):
        warnings.simplefilter("error")
        try:
            back = loaded(bytes(data))
        except ValueError:  # and nothing else
            return
        for x in back.values():
            if isinstance(x, lpnum.LPArray):
                lpnum.LPArray(x.codes, x.format, x.scale, x.offset, x.dtype, rounding=x.rounding, overflow=x.overflow)
