"""npz files of lpnum, pickles and buffers: what is written comes back to the bit."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import pickle
import stat
import subprocess
import sys

import numpy as np
import pytest
from file_arrays import little_memory, loaded, same, saved, several
from hypothesis import given

import lpnum
from lpnum import _files, _npz, _schema, testing

# ---- what is written comes back -------------------------------------------------------------------------------------


@given(x=testing.lp_arrays())
def test_any_fixed_point_array_comes_back_to_the_bit(x):
    same(loaded(saved(x)), x)


@pytest.mark.parametrize("fmt", [*lpnum.formats.named().values(), lpnum.minifloat(2, 3, 1, "fnuz"), lpnum.p3109(5, 3)])
def test_every_format_comes_back_by_its_defining_fields(fmt):
    x = lpnum.from_codes(fmt.all_codes(), fmt, scale=0.3)
    same(loaded(saved(x)), x)
    assert _schema.format_from_json(json.loads(json.dumps(_schema.format_to_json(fmt))), "here") == fmt


def test_several_arrays_come_back_by_name_whichever_way_they_are_given(tmp_path):
    for data in (saved(several()), saved(**several())):
        back = loaded(data)
        assert list(back) == list(several())
        for name, x in several().items():
            same(back[name], x)
    lpnum.save(tmp_path / "x", several())
    for path in (tmp_path / "x", str(tmp_path / "x"), os.fsencode(tmp_path / "x")):
        same(lpnum.load(path)["channels"], several()["channels"])


def test_one_array_comes_back_alone_and_one_with_a_name_in_a_dict():
    x = lpnum.arange(3)
    assert isinstance(loaded(saved(x)), lpnum.LPArray)
    assert list(loaded(saved(x=x))) == ["x"]
    assert isinstance(loaded(saved(np.arange(3))), np.ndarray)


@pytest.mark.parametrize(
    "view",
    [lambda x: x[::2, ::-1], lambda x: x.T, lambda x: x[1:, 1:2], lambda x: np.broadcast_to(x, (2, *x.shape))],
)
def test_views_are_written_as_what_they_show(view, tmp_path):
    x = view(several()["channels"])
    same(loaded(saved(x)), x)
    lpnum.save(tmp_path / "x.npz", x)
    same(lpnum.load(tmp_path / "x.npz", mmap=True), x)


def test_training_goes_on_from_a_file_as_if_it_had_not_stopped():
    w = lpnum.zeros(500, scale=0.5, rounding="stochastic", rng=3)
    w += 0.1
    v = loaded(saved(w))
    for x in (v, w):
        x += 0.1
    same(v, w)


def test_arrays_that_shared_a_generator_share_it_again():
    back = loaded(saved(several()))
    assert back["random"].rng is back["random too"].rng


def test_the_same_arrays_give_the_same_bytes():
    assert saved(several()) == saved(several())


def test_numpy_reads_the_members_without_lpnum():
    with np.load(io.BytesIO(saved(w=several()["channels"], mean=np.ones(2))), allow_pickle=False) as file:
        assert file.files == ["lpnum.json", "w.codes", "w.scale", "w.offset", "mean.values"]
        np.testing.assert_array_equal(file["w.codes"], several()["channels"].codes)
        np.testing.assert_array_equal(file["mean.values"], np.ones(2))
        assert json.loads(file["lpnum.json"])["lpnum"] == 1


def test_file_objects_need_not_seek_when_writing_and_may_be_compressed(tmp_path):
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    lpnum.save(pipe, several())
    same(loaded(bytes(pipe.data))["channels"], several()["channels"])
    with gzip.open(tmp_path / "x.gz", "wb") as file:
        lpnum.save(file, lpnum.zeros(100_000))
    assert (tmp_path / "x.gz").stat().st_size < 2000
    with gzip.open(tmp_path / "x.gz", "rb") as file:
        same(lpnum.load(file), lpnum.zeros(100_000))
        assert not file.closed


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f: lpnum.save(f), ValueError, "no array given"),
        (lambda f: lpnum.save(f, {}), ValueError, "no array given"),
        (lambda f: lpnum.save(f, [1.0, 2.0]), TypeError, "LPArray or a numpy.ndarray, not list"),
        (lambda f: lpnum.save(f, np.array(["text"])), TypeError, "not of <U4"),
        (lambda f: lpnum.save(f, np.array([None])), TypeError, "not of object"),
        (lambda f: lpnum.save(f, np.array([1], "M8[s]")), TypeError, "not of datetime64"),
        (lambda f: lpnum.save(f, np.ma.array([1.0], mask=[True])), TypeError, "MaskedArray"),
        (lambda f: lpnum.save(f, {1: lpnum.ones(2)}), TypeError, "names must be str"),
        (lambda f: lpnum.save(f, lpnum.ones(2), x=lpnum.ones(2)), TypeError, "not both"),
        (lambda f: lpnum.save(f, {"a": lpnum.ones(2)}, x=lpnum.ones(2)), TypeError, "not both"),
        (lambda f: lpnum.save(3, lpnum.ones(2)), TypeError, "path or a binary file object"),
        (lambda f: lpnum.save("x.safetensors", lpnum.ones(2)), ValueError, "save_safetensors"),
        (lambda f: lpnum.load(None), TypeError, "path or a binary file object"),
        (lambda f: lpnum.load("/nonexistent/x.npz"), FileNotFoundError, "nonexistent"),
        (lambda f: lpnum.load(f, mmap=True), ValueError, "needs a path"),
        (lambda f: lpnum.load("x", mmap="w"), ValueError, "mmap must be"),
        (lambda f: lpnum.load("x", mmap=1), ValueError, "mmap must be"),
    ],
)
def test_bad_calls_are_named(call, error, words):
    file = io.BytesIO()
    with pytest.raises(error, match=words):
        call(file)
    assert file.getvalue() == b""


@pytest.mark.parametrize("name", ["", "/x", "a//b", "../x", "a/./b", "a\\b", "a\0b", "a\nb", "\ud800", "x" * 1001])
def test_names_that_would_not_survive_are_refused(name):
    with pytest.raises(ValueError, match="cannot be a name"):
        saved({name: lpnum.ones(2)})


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed], ids=lambda f: f.__name__)
def test_numpys_own_save_is_refused(save):
    with pytest.raises(TypeError, match=rf"np\.{save.__name__}.*lpnum\.save"):
        save(io.BytesIO(), lpnum.ones(3))


# ---- files on the disk ----------------------------------------------------------------------------------------------


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    lpnum.save(path, lpnum.arange(3))

    def half(stream, header, members):
        stream.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_npz, "write", half)
        with pytest.raises(KeyboardInterrupt):
            lpnum.save(path, lpnum.ones(3))
    same(lpnum.load(path), lpnum.arange(3))
    assert os.listdir(tmp_path) == ["x.npz"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_a_new_file_has_the_usual_permissions_and_an_old_one_keeps_its_own(tmp_path):
    path, usual = tmp_path / "x.npz", tmp_path / "usual"
    usual.write_bytes(b"")
    lpnum.save(path, lpnum.ones(2))
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o640)
    lpnum.save(path, lpnum.ones(3))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link = tmp_path / "link"
    link.symlink_to(path)
    lpnum.save(link, lpnum.ones(4))
    assert link.is_symlink()
    assert lpnum.load(path).shape == (4,)


@pytest.mark.skipif(os.name == "nt", reason="needs /dev/null")
def test_a_device_is_written_to_and_not_replaced():
    with _files.writing(os.devnull, "here") as stream:
        assert stream.name == os.devnull
        stream.write(b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


# ---- mapped ---------------------------------------------------------------------------------------------------------


def test_mapped_arrays_equal_read_ones_and_are_read_only_or_private(tmp_path):
    path = tmp_path / "x.npz"
    lpnum.save(path, several())
    before = path.read_bytes()
    for mode, verify in itertools.product((True, "r", "c"), (False, True)):
        back = lpnum.load(path, mmap=mode, verify=verify)
        for name, x in several().items():
            if isinstance(x, lpnum.LPArray):
                same(back[name], x)
                assert back[name].codes.flags.writeable == (mode == "c") or not x.size
                assert back[name].codes.ctypes.data % 64 == 0 or not x.size
            else:
                np.testing.assert_array_equal(back[name], x)
        if mode == "c":
            back["fixed8"][...] = 1.0
            assert np.asarray(back["fixed8"])[0, 0] == pytest.approx(1.0)
        else:
            for change in (lambda x: x.fill(1), lambda x: np.add(x, 1, out=x), lambda x: x.__setitem__(0, 1.0)):
                with pytest.raises(ValueError, match="read-only"):
                    change(back["fixed8"])
        assert path.read_bytes() == before


def test_loading_a_mapped_array_reads_only_what_is_used(tmp_path):
    path, n = tmp_path / "x.npz", 4_000_000
    x = lpnum.from_codes(np.arange(n, dtype=np.uint32).astype(np.uint8), lpnum.ufixed8, offset=np.zeros(n))
    lpnum.save(path, x)
    with little_memory(1 << 20):
        y = lpnum.load(path, mmap=True)
        part = y[n // 2 : n // 2 + 3].sum()
    assert part == x[n // 2 : n // 2 + 3].sum()


def test_saving_over_a_mapped_file_is_safe(tmp_path):
    path = tmp_path / "x.npz"
    lpnum.save(path, lpnum.arange(100))
    x = lpnum.load(path, mmap=True)
    lpnum.save(path, x[::-1])
    same(x, lpnum.arange(100))
    same(lpnum.load(path), lpnum.arange(100)[::-1])


def test_mapped_codes_out_of_range_and_wrong_checksums_are_found(tmp_path):
    path = tmp_path / "x.npz"
    for fmt, verify, words in ((lpnum.ufixed4, False, "codes from"), (lpnum.ufixed8, True, "CRC")):
        lpnum.save(path, lpnum.zeros(100_000, fmt))
        data = bytearray(path.read_bytes())
        data[50_000] ^= 0x40
        path.write_bytes(data)
        with pytest.raises(ValueError, match=words):
            lpnum.load(path, mmap=True, verify=verify)


# ---- pickle, buffers, DLPack ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(protocol):
    for x in several().values():
        if isinstance(x, lpnum.LPArray):
            same(pickle.loads(pickle.dumps(x, protocol)), x)


def test_pickle_5_hands_the_codes_out_of_band_without_a_copy():
    x = lpnum.zeros(1 << 20, scale=0.1)
    buffers = []
    stream = pickle.dumps(x, protocol=5, buffer_callback=buffers.append)
    assert len(stream) < 1000
    assert len(buffers) == 1
    assert np.shares_memory(np.frombuffer(buffers[0], np.int8), x.codes)
    y = pickle.loads(stream, buffers=buffers)
    assert np.shares_memory(y.codes, x.codes)
    z = pickle.loads(stream, buffers=[bytes(buffers[0])])
    assert not z.codes.flags.writeable
    same(z, x)


def test_codes_are_exported_as_buffer_and_by_dlpack_and_the_array_itself_is_not():
    x = lpnum.array([1.0, -0.5])
    assert memoryview(x.codes).tolist() == x.codes.tolist()
    assert np.shares_memory(np.from_dlpack(x.codes), x.codes)
    with pytest.raises(BufferError, match=r"scale and offset.*x\.codes"):
        np.from_dlpack(x)
    with pytest.raises(TypeError):
        memoryview(x)


def test_importing_lpnum_does_not_import_zipfile():
    program = "import sys, numpy; had = 'zipfile' in sys.modules; import lpnum; print('zipfile' in sys.modules, had)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert output[0] == output[1]
