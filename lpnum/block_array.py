"""BlockArray: packed element codes, one scale code for each block, and for some formats a scale of the whole array.

One flat class for all block formats; what ufuncs and NumPy's functions do with it is in `lpnum._block_functions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.mixins import NDArrayOperatorsMixin

from lpnum import _block_codec, codec, formats
from lpnum._base import StoredArray, own_policy, value_dtype
from lpnum._core import blocks
from lpnum._protocols import LibraryProtocols, function_of_others, ufunc_of_others
from lpnum._reductions import Reductions
from lpnum.block_formats import BlockFormat
from lpnum.packing import unpack
from lpnum.rounding import Policy

__all__ = ["BlockArray"]


class BlockArray(Reductions, StoredArray, LibraryProtocols, NDArrayOperatorsMixin):
    """Array in a block format: ``value = tensor_scale * scale of its block * element``.

    Make one with ``lpnum.array(values, lpnum.mxfp4)``; the constructor wraps existing codes.

    Parameters
    ----------
    codes : ndarray of the element format's storage dtype, or uint8
        Element codes; for 4-bit elements, two to a byte along `axis` (`lpnum.pack`). Not copied.
    scale_codes : ndarray of uint8
        Codes of the scales; along `axis`, one for each block.
    format : BlockFormat or its name
    axis : int
        The axis along which blocks run.
    tensor_scale : float
        For formats that have one; rounded to float32.
    dtype : {float32, float64}
        NumPy dtype of the values.
    rounding, overflow : str, optional
        Policies of this array when it is written to; None takes the context's.
    rng : CounterRNG, optional
        Source of the random bits of stochastic rounding.

    Notes
    -----
    What an operation returns:

    1. Elementwise functions give a block array of the same format: the exact (float64) result, each block with a scale
       of its own from the result's values. With ``out=``, in place and by ``x[i] = v``, the format and the tensor
       scale stay; the scales of the blocks follow the new values.
    2. Comparisons, reductions, ``dot`` and ``@`` give plain arrays; sums are float64.
    3. Views and indices keep blocks whole; others raise IndexError and name ``x.dequantize()``.

    Examples
    --------
    >>> x = lpnum.array(np.linspace(-3, 3, 64), dtype=lpnum.mxfp4)
    >>> x.nbytes, x.codes.shape, x.scales
    (34, (32,), array([0.5, 0.5]))
    >>> y = 2 * x
    >>> y.scales, bool((y == 2 * x.dequantize()).all())
    (array([1., 1.]), True)
    """

    __slots__ = ("_codes", "_scale_codes", "_tensor_scale", "axis", "dtype", "format")

    _codes: np.ndarray  # of shape (..., bytes), the blocked axis last
    _scale_codes: np.ndarray  # of shape (..., blocks)
    _tensor_scale: float
    format: BlockFormat
    axis: int
    dtype: np.dtype

    def __init__(
        self,
        codes: Any,
        scale_codes: Any,
        format: BlockFormat | str,
        *,
        axis: int = -1,
        tensor_scale: float = 1.0,
        dtype: Any = np.float64,
        rounding: str | None = None,
        overflow: str | None = None,
        rng: Any = None,
    ) -> None:
        fmt = formats.block_format(format)
        if fmt is None:
            raise TypeError(f"BlockArray: expected a block format or its name, not {format!r}")
        given, scales = np.asarray(codes), np.asarray(scale_codes)
        allowed = (np.dtype(np.uint8),) if fmt.packed else (np.dtype(np.uint8), fmt.element.storage)
        if given.dtype not in allowed or scales.dtype != np.uint8:
            raise TypeError(
                f"BlockArray: codes are {allowed[-1]} and scale codes uint8, not {given.dtype} and {scales.dtype}"
            )
        if given.ndim == 0 or given.ndim != scales.ndim:
            raise ValueError("BlockArray: codes and scale codes have the same number of dimensions, at least one")
        axis = normalize_axis_index(axis, given.ndim)
        rows, scales = np.moveaxis(given, axis, -1).view(np.uint8), np.moveaxis(scales, axis, -1)
        if rows.shape[:-1] != scales.shape[:-1] or rows.shape[-1] != scales.shape[-1] * fmt.block_bytes:
            raise ValueError(
                f"BlockArray: codes of shape {given.shape} and scale codes of shape {np.shape(scale_codes)}; along "
                f"axis {axis} a scale belongs to {fmt.block_bytes} bytes of codes, and the other axes are equal"
            )
        if not fmt.packed and fmt.bits < 8:
            codec.as_codes(given.view(fmt.element.storage), fmt.element, "BlockArray")
        highest = fmt.scale_format.code_max
        if scales.size and int(scales.max()) > highest:
            raise ValueError(f"BlockArray: scale codes up to {int(scales.max())}, {fmt.scale_format!r} has {highest}")
        factor = _block_codec.check_tensor_scale(tensor_scale, fmt)
        self._set(
            rows, scales, fmt, axis, factor, value_dtype(dtype, "BlockArray"), own_policy(rounding, overflow, rng)
        )

    def _set(
        self,
        codes: np.ndarray,
        scale_codes: np.ndarray,
        fmt: BlockFormat,
        axis: int,
        tensor_scale: float,
        dtype: np.dtype,
        policy: Policy | None,
    ) -> BlockArray:
        self._codes, self._scale_codes, self.format, self.axis = codes, scale_codes, fmt, axis
        self._tensor_scale, self.dtype, self._policy = tensor_scale, dtype, policy
        return self

    def _like(self, codes: np.ndarray, scale_codes: np.ndarray, axis: int) -> BlockArray:
        """An array of the same format, tensor scale and policies."""
        new = object.__new__(BlockArray)
        return new._set(codes, scale_codes, self.format, axis, self._tensor_scale, self.dtype, self._policy)

    # ---- attributes ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        outer = self._scale_codes.shape[:-1]
        return (*outer[: self.axis], self._scale_codes.shape[-1] * self.format.block, *outer[self.axis :])

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and of the scales, the tensor scale included."""
        return self._codes.nbytes + self._scale_codes.nbytes + 4 * self.format.tensor_scale

    @property
    def codes(self) -> np.ndarray:
        """Element codes as stored: bytes, along `axis` two elements in each for 4-bit formats."""
        return np.moveaxis(self._codes, -1, self.axis)

    @property
    def unpacked(self) -> np.ndarray:
        """Element codes one by one, in the element format's storage dtype."""
        if self.format.packed:
            return unpack(self.codes, self.shape[self.axis], self.format.element, self.axis)
        return np.moveaxis(self._codes.view(self.format.element.storage), -1, self.axis)

    @property
    def scale_codes(self) -> np.ndarray:
        """Codes of the scales, one for each block along `axis`."""
        return np.moveaxis(self._scale_codes, -1, self.axis)

    @property
    def scales(self) -> np.ndarray:
        """Scales of the blocks in float64, without the tensor scale."""
        return self.format.scale_format.code_values[self.scale_codes]

    @property
    def tensor_scale(self) -> float:
        """Scale of the whole array (a float32 number); 1 for formats that have none."""
        return self._tensor_scale

    # ---- values out and in -----------------------------------------------------------------------------------------

    def dequantize(self, dtype: Any = None) -> np.ndarray:
        """The values as a plain array of `dtype` (default: ``self.dtype``), rounded once."""
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        direct = wanted.kind == "f" and wanted.itemsize in (4, 8) and wanted.isnative
        rows = (*self._scale_codes.shape[:-1], self._scale_codes.shape[-1] * self.format.block)
        out = np.empty(rows, wanted if direct else np.float64)
        codes, scale_codes = map(np.ascontiguousarray, (self._codes, self._scale_codes))
        blocks.dequantize_blocks(self.format.kernel, codes, scale_codes, self._tensor_scale, out)
        values = np.moveaxis(out, -1, self.axis)
        return values if direct else values.astype(wanted)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a BlockArray cannot become an ndarray without a copy; use x.dequantize() or x.codes")
        return self.dequantize(dtype)

    def _write(self, values: Any, where: str) -> None:
        """Store values in this array, with new block scales; on an error nothing is stored."""
        same = isinstance(values, BlockArray) and values.format == self.format and values.axis == self.axis
        if same and values.shape == self.shape and values._tensor_scale == self._tensor_scale:
            np.copyto(self._codes, values._codes)
            np.copyto(self._scale_codes, values._scale_codes)
            return
        array = np.broadcast_to(_block_codec.as_values(values, where), self.shape)
        codes, scale_codes = _block_codec.quantize(
            array, self.format, self.axis, self._tensor_scale, self.policy(), where
        )
        np.copyto(self._codes, codes)
        np.copyto(self._scale_codes, scale_codes)

    def __getitem__(self, index: Any) -> Any:
        part = _block_codec.parts(self.format, self.shape, self.axis, index)
        if part.element is not None:
            return self._element(part.element)
        codes, scale_codes = self.codes[part.codes], self.scale_codes[part.scales]
        axis = codes.ndim + part.axis
        return self._like(np.moveaxis(codes, axis, -1), np.moveaxis(scale_codes, axis, -1), axis)

    def _element(self, index: tuple[int, ...]) -> Any:
        position = index[self.axis]
        outer = index[: self.axis] + index[self.axis + 1 :]
        if self.format.packed:
            code = int(self._codes[(*outer, position // 2)]) >> (4 * (position % 2)) & 15
        else:
            code = int(self._codes[(*outer, position)])
        scale = self.format.scale_format.value(int(self._scale_codes[(*outer, position // self.format.block)]))
        return self.dtype.type(self.format.stored_values[code] * (scale * self._tensor_scale))

    def __setitem__(self, index: Any, values: Any) -> None:
        part = _block_codec.parts(self.format, self.shape, self.axis, index)
        if part.element is not None or part.copies:
            raise IndexError(
                "BlockArray: only whole blocks can be written, by slices: a scale depends on all elements of its block"
            )
        self[index]._write(values, "BlockArray.__setitem__")

    # ---- other arrangements ------------------------------------------------------------------------------------------

    def copy(self) -> BlockArray:
        """An independent array with the same codes and policies (the random generator is shared)."""
        return self._like(self._codes.copy(), self._scale_codes.copy(), self.axis)

    def transpose(self, *axes: Any) -> BlockArray:
        """View with the axes permuted (reversed without arguments); the blocked axis moves along."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes or range(self.ndim)[::-1]
        order = [normalize_axis_index(int(k), self.ndim) for k in order]
        axis = order.index(self.axis)
        codes, scale_codes = (np.moveaxis(p.transpose(order), axis, -1) for p in (self.codes, self.scale_codes))
        return self._like(codes, scale_codes, axis)

    def reshape(self, *shape: Any) -> BlockArray:
        """The same elements in another shape, where blocks run along the last axis and stay whole.

        >>> lpnum.zeros((4, 64), lpnum.mxfp4).reshape(-1, 32).shape
        (8, 32)
        """
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        new: tuple[int, ...] = np.broadcast_to(0, self.shape).reshape(wanted).shape
        if self.axis != self.ndim - 1 or not new or new[-1] % self.format.block:
            raise ValueError(
                f"BlockArray.reshape: {self.shape} to {new} cuts blocks of {self.format.block} along axis {self.axis}; "
                "use x.dequantize().reshape(...)"
            )
        n_blocks = new[-1] // self.format.block
        codes = self._codes.reshape(*new[:-1], n_blocks * self.format.block_bytes)
        return self._like(codes, self._scale_codes.reshape(*new[:-1], n_blocks), len(new) - 1)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """Convert to another block format (blocks along the same axis), to a format, or to a plain array.

        >>> x = lpnum.array(np.arange(32.0), lpnum.mxfp8_e4m3)
        >>> x.astype(lpnum.float8_e4m3fn)[:4], x.astype(np.float32)[16]
        (LPArray([0., 1., 2., 3.], format=lpnum.float8_e4m3fn, scale=1), np.float32(16.0))
        """
        from lpnum import creation
        from lpnum._block_creation import from_values

        fmt = formats.block_format(dtype)
        if fmt == self.format:
            return self.copy() if copy else self
        settings: dict[str, Any] = {"rounding": self.rounding, "overflow": self.overflow, "rng": self.rng}
        if fmt is not None:
            new = from_values(self.dequantize(np.float64), fmt, axis=self.axis, **settings)
        elif formats.is_format(dtype):
            new = creation.array(self.dequantize(np.float64), dtype, **settings)
        else:
            return self.dequantize(dtype)
        new.dtype = self.dtype
        return new

    # ---- protocols -------------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from lpnum import _block_functions

        result = _block_functions.ufunc(ufunc, method, inputs, kwargs)
        return ufunc_of_others(ufunc, method, inputs, kwargs) if result is NotImplemented else result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from lpnum import _block_functions

        result = _block_functions.function(func, types, args, kwargs)
        return function_of_others(func, args, kwargs) if result is NotImplemented else result

    def __reduce__(self) -> Any:
        settings = {"axis": self.axis, "tensor_scale": self._tensor_scale, "dtype": self.dtype}
        settings |= {"rounding": self.rounding, "overflow": self.overflow, "rng": self.rng}
        return _unpickle, (self.codes, self.scale_codes, self.format, settings)

    def __repr__(self) -> str:
        parts = [np.array2string(self.dequantize(), separator=", ", prefix="BlockArray("), f"format={self.format!r}"]
        if self.axis != self.ndim - 1:
            parts.append(f"axis={self.axis}")
        if self.format.tensor_scale:
            parts.append(f"tensor_scale={self._tensor_scale:.6g}")
        return f"BlockArray({', '.join(parts)})"


def _unpickle(codes: np.ndarray, scale_codes: np.ndarray, fmt: BlockFormat, settings: dict[str, Any]) -> BlockArray:
    return BlockArray(codes, scale_codes, fmt, **settings)
