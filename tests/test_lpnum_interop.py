"""To and from ml_dtypes and torch: the same values, shared memory, and no scale that gets lost."""

from __future__ import annotations

import numpy as np
import pytest
from file_arrays import same
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum import interop, testing

FLOATS = [fmt for fmt in lpnum.formats.named().values() if isinstance(fmt, lpnum.FloatFormat)]
INTEGERS = [lpnum.fixed8, lpnum.ufixed8, lpnum.fixed16, lpnum.ufixed16]
SUB_BYTE = [lpnum.fixed4, lpnum.ufixed4, lpnum.fixed(2), lpnum.fixed(2, signed=False)]


def every_code(fmt, scale=1.0, offset=0.0):
    return lpnum.from_codes(fmt.all_codes().reshape(-1, 2), fmt, scale, offset)


def values_of(a):
    with np.errstate(invalid="ignore"):  # casts of signaling NaN
        return a.astype(np.float64)


# ---- ml_dtypes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FLOATS + INTEGERS + SUB_BYTE, ids=repr)
def test_every_code_has_the_same_value_in_ml_dtypes_and_back(fmt):
    pytest.importorskip("ml_dtypes")
    x = every_code(fmt)
    a = lpnum.to_ml_dtypes(x)
    assert np.shares_memory(a, x.codes)
    assert a.dtype.name in (fmt.name, x.codes.dtype.name, f"{'' if fmt.signed else 'u'}int{fmt.bits}")
    np.testing.assert_array_equal(values_of(a), np.asarray(x))
    back = lpnum.from_ml_dtypes(a)
    same(back, x)
    assert np.shares_memory(back.codes, a) or fmt in SUB_BYTE


@pytest.mark.parametrize("name", ["int4", "uint4", "int2", "uint2"])
def test_integers_below_a_byte_that_ml_dtypes_made_are_read(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = getattr(ml_dtypes, name)
    values = np.arange(ml_dtypes.iinfo(dtype).min, ml_dtypes.iinfo(dtype).max + 1)
    np.testing.assert_array_equal(np.asarray(lpnum.from_ml_dtypes(values.astype(dtype))), values)


@pytest.mark.parametrize("view", [lambda x: x[::2, ::-1], lambda x: x.T, lambda x: x[0:0], lambda x: x[0, 0:1][0:1]])
def test_strided_arrays_are_shared_too(view):
    pytest.importorskip("ml_dtypes")
    for fmt in (lpnum.float8_e4m3fn, lpnum.bfloat16, lpnum.fixed8):
        x = view(every_code(fmt))
        a = lpnum.to_ml_dtypes(x)
        np.testing.assert_array_equal(values_of(a), np.asarray(x))
        assert np.shares_memory(a, x.codes) or not x.size
        same(lpnum.from_ml_dtypes(a), x)


@given(x=testing.lp_arrays(fmt=st.sampled_from([*INTEGERS, lpnum.fixed(8, frac=5), lpnum.fixed(16, frac=-2)])))
def test_scale_and_offset_come_out_beside_the_data_and_restore_the_values(x):
    a, scale, offset = lpnum.to_ml_dtypes(x, return_grid=True)
    back = lpnum.from_ml_dtypes(a, scale, offset, dtype=x.dtype)
    np.testing.assert_array_equal(np.asarray(back), np.asarray(x))
    np.testing.assert_array_equal(offset + scale * a.astype(np.float64), np.asarray(x))


@pytest.mark.parametrize("to", [lpnum.to_ml_dtypes, lpnum.to_torch], ids=lambda f: f.__name__)
def test_a_scale_is_never_dropped(to):
    pytest.importorskip("torch" if to is lpnum.to_torch else "ml_dtypes")
    for x in (
        lpnum.array([1.0, 0.3]),
        lpnum.zeros(2, offset=1.0),
        lpnum.zeros(2, "float8_e5m2", scale=[1.0, 2.0]),
        lpnum.zeros(2, lpnum.fixed(8, frac=4)),
    ):
        with pytest.raises(ValueError, match="return_grid=True"):
            to(x)
        assert len(to(x, return_grid=True)) == 3
    to(lpnum.zeros((2, 2), "fixed8", scale=[[1.0], [1.0]]))  # an array of ones is no scale
    for wrong in (np.zeros(2), [1.0]):
        with pytest.raises(TypeError, match="expected an LPArray"):
            to(wrong)
    for fmt in (lpnum.minifloat(4, 3, 4), lpnum.p3109(8, 4)):
        with pytest.raises(TypeError, match="no dtype for lpnum"):
            to(lpnum.zeros(2, fmt))


@pytest.mark.parametrize("wrong", [np.zeros(2), np.zeros(2, np.int32), np.array(["a"]), np.array([None]), [1.0]])
def test_what_is_no_low_precision_is_refused(wrong):
    with pytest.raises(TypeError, match="expected int8, uint8, int16 or uint16"):
        lpnum.from_ml_dtypes(wrong)


def test_big_endian_codes_are_read():
    np.testing.assert_array_equal(np.asarray(lpnum.from_ml_dtypes(np.array([1, -2], ">i2"))), [1, -2])
    np.testing.assert_array_equal(np.asarray(lpnum.from_ml_dtypes(np.array([1.5, -2], ">f2"))), [1.5, -2])


# ---- torch ----------------------------------------------------------------------------------------------------------

TORCH = [fmt for fmt in FLOATS if fmt.name in interop._TORCH_DTYPES] + INTEGERS


@pytest.mark.parametrize("fmt", TORCH, ids=repr)
def test_every_code_has_the_same_value_in_torch_and_back(fmt):
    torch = pytest.importorskip("torch")
    x = every_code(fmt)
    t = lpnum.to_torch(x)
    assert t.dtype == getattr(torch, fmt.name if isinstance(fmt, lpnum.FloatFormat) else fmt.storage.name)
    assert t.data_ptr() == x.codes.ctypes.data
    np.testing.assert_array_equal(t.double().numpy(), np.asarray(x))
    back = lpnum.from_torch(t)
    same(back, x)
    assert np.shares_memory(back.codes, x.codes)
    x[0, 0] = 0.5
    assert float(t[0, 0]) == float(back[0, 0]) == float(x[0, 0])


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 4)])
def test_shapes_and_strides_are_torchs(shape):
    torch = pytest.importorskip("torch")
    x = lpnum.zeros(shape, "float8_e4m3fn")
    assert lpnum.to_torch(x).shape == shape
    assert lpnum.to_torch(x.T).shape == shape[::-1]
    t = torch.zeros((*shape, 2), dtype=torch.bfloat16).movedim(-1, 0)
    assert lpnum.from_torch(t).shape == (2, *shape)


def test_what_torch_cannot_share_is_copied_or_refused():
    pytest.importorskip("torch")
    x = every_code(lpnum.fixed8)
    fixed = lpnum.from_codes(x.codes.copy())
    fixed.codes.flags.writeable = False
    for y in (x[::-1], fixed):
        t = lpnum.to_torch(y)
        np.testing.assert_array_equal(t.double().numpy(), np.asarray(y))
        assert t.data_ptr() not in (y.codes.ctypes.data, x.codes.ctypes.data)
        with pytest.raises(ValueError, match="copy=False"):
            lpnum.to_torch(y, copy=False)
    assert lpnum.to_torch(x, copy=False).data_ptr() == x.codes.ctypes.data
    assert lpnum.to_torch(x, copy=True).data_ptr() != x.codes.ctypes.data


def test_float4_is_packed_for_torch():
    torch = pytest.importorskip("torch")
    x = every_code(lpnum.float4_e2m1fn)
    t = lpnum.to_torch(x)
    assert t.dtype == torch.float4_e2m1fn_x2
    assert t.shape == (8, 1)
    same(lpnum.from_torch(t), x)
    with pytest.raises(ValueError, match="odd"):
        lpnum.to_torch(lpnum.zeros(3, "float4_e2m1fn"))


@pytest.mark.filterwarnings("ignore:.*quantize.*deprecated")
def test_torchs_quantized_tensors_bring_their_scale():
    torch = pytest.importorskip("torch")
    if not hasattr(torch, "quantize_per_tensor"):
        pytest.skip("this torch has no quantized tensors")
    values, scales = torch.tensor([[1.0, 2.0, -1.0], [3.0, 4.0, 5.0]]), torch.tensor([0.5, 0.25])
    for quantized, fmt in (
        (torch.quantize_per_tensor(values, 0.25, 10, torch.quint8), lpnum.ufixed8),
        (torch.quantize_per_tensor(values, 0.25, 0, torch.qint8), lpnum.fixed8),
        (
            torch.quantize_per_channel(values, scales, torch.tensor([3, -7]), 0, torch.qint8),
            lpnum.fixed8,
        ),
    ):
        x = lpnum.from_torch(quantized)
        assert x.format == fmt
        np.testing.assert_array_equal(np.asarray(x), quantized.dequantize().numpy())
        with pytest.raises(ValueError, match="its own scale"):
            lpnum.from_torch(quantized, 2.0)
    with pytest.raises(TypeError, match="only qint8 and quint8"):
        lpnum.from_torch(torch.quantize_per_tensor(values, 0.25, 0, torch.qint32))


def test_tensors_with_gradients_lose_them_and_wide_ones_are_refused():
    torch = pytest.importorskip("torch")
    x = lpnum.from_torch(torch.ones(2, dtype=torch.bfloat16, requires_grad=True), 0.5, 1.0, dtype=np.float32)
    assert np.asarray(x).tolist() == [1.5, 1.5]
    assert x.dtype == np.float32
    for wrong in (torch.ones(2), torch.ones(2, dtype=torch.int32), torch.ones(2, dtype=torch.bool)):
        with pytest.raises(TypeError, match="not low precision"):
            lpnum.from_torch(wrong)
    with pytest.raises(TypeError, match=r"expected a torch\.Tensor"):
        lpnum.from_torch(np.ones(2))


def test_torch_takes_codes_by_dlpack_and_no_array_without_its_scale():
    torch = pytest.importorskip("torch")
    x = lpnum.array([1.0, -0.5])
    assert torch.from_dlpack(x.codes).data_ptr() == x.codes.ctypes.data
    for take in (torch.from_dlpack, torch.as_tensor, torch.tensor):
        with pytest.raises(BufferError, match="to_torch"):
            take(x)
