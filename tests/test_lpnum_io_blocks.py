"""Block arrays in files, npz and safetensors."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from file_arrays import blocks, little_memory, same, saved
from hypothesis import given
from hypothesis import strategies as st

import lpnum

WAYS = {"npz": (lpnum.save, lpnum.load), "safetensors": (lpnum.save_safetensors, lpnum.load_safetensors)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mmap", [False, True, "c"])
def test_block_arrays_come_back_to_the_bit(way, mmap, tmp_path):
    save, load = WAYS[way]
    save(tmp_path / "x", blocks())
    back = load(tmp_path / "x", mmap=mmap)
    for name, x in blocks().items():
        same(back[name], x)
        np.testing.assert_array_equal(np.asarray(back[name]), np.asarray(x))
        assert back[name].codes.flags.writeable == (mmap is not True)


def test_other_programs_see_the_formats_and_the_scales():
    file = io.BytesIO()
    lpnum.save_safetensors(file, blocks())
    data = file.getvalue()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    dtypes = {name: entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    assert dtypes["mxfp8_e5m2"] == "F8_E5M2"
    assert dtypes["mxfp8_e5m2_scale_codes"] == "F8_E8M0"
    assert (dtypes["nvfp4"], dtypes["nvfp4_scale_codes"], dtypes["nvfp4_tensor_scale"]) == ("U8", "F8_E4M3", "F64")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axis": 5}, "axis"),
        ({"axis": 0}, "scale"),
        ({"axis": True}, "axis must be"),
        ({"tensor_scale": None}, "tensor_scale"),
        ({"tensor_scale": 2.0}, "scale"),
        ({"tensor_scale": 0}, "scale"),
        ({"tensor_scale": 1e300}, "not a float32 number"),
        ({"tensor_scale": 0.1}, "not a float32 number"),
        ({"tensor_scale": 10**400}, "too large|digits"),
        ({"tensor_scale": "array"}, "lacks 'x.tensor_scale.npy'"),
        ({"dtype": "int8"}, "float32 or float64"),
        ({"extra": 1}, "expected the fields"),
        ({"format": {"family": "fixed", "bits": 8, "frac": None, "signed": True}}, "family block"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(changes, words):
    with zipfile.ZipFile(io.BytesIO(saved(x=blocks()["mxfp4"]))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["lpnum.json"])
    header["arrays"]["x"].update(changes)
    members["lpnum.json"] = json.dumps(header).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=words) as error:
        lpnum.load(file)
    assert str(error.value).startswith("lpnum.load: ")


INTACT = saved(blocks())


@given(edits=st.lists(st.tuples(st.integers(0, len(INTACT) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_file_with_changed_bytes_is_refused_or_read_as_it_was(edits):
    data = bytearray(INTACT)
    for place, bits in edits:
        data[place] ^= bits
    with little_memory(1 << 21):
        try:
            back = lpnum.load(io.BytesIO(data))
        except ValueError:  # and nothing else
            return
    for name, x in blocks().items():
        same(back[name], x)
