"""The changes of an LPArray's grid: other scale and offset, bit centering, other formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum import _threads, codec, formats, grid
from lpnum.formats import FloatFormat
from lpnum.scaling import calibrate, cover

if TYPE_CHECKING:
    from lpnum.array import LPArray


class GridChanges:
    """Mixin: the same values on another grid, in place or as a new array."""

    __slots__ = ()

    def rescale(self: LPArray, scale: Any = None, offset: Any = None) -> LPArray:
        """The same values on another grid of the same format, rounded once.

        Parameters
        ----------
        scale, offset : float or array_like, optional
            Of the new grid; what is not given stays.

        Examples
        --------
        >>> lpnum.array([1.0, 2.0, 40.0], dtype=lpnum.fixed8, scale=1.0).rescale(scale=0.25)
        LPArray([ 1.  ,  2.  , 31.75], format=lpnum.fixed8, scale=0.25)
        """
        new = self._like(
            np.empty(self.shape, self.codes.dtype),
            self._scale.copy() if scale is None else grid.as_metadata(scale, self.shape, "scale", positive=True),
            self._offset.copy() if offset is None else grid.as_metadata(offset, self.shape, "offset"),
        )
        new._write(self, "LPArray.rescale")
        return new

    def recenter(self: LPArray, scale: Any = None, offset: Any = None) -> None:
        """Bit centering, in place: the offset takes over the current values, and the codes start again from 0.

        ``offset <- offset + scale * codes; codes <- 0; scale <- scale``. With `offset` given, the codes take what
        remains, rounded to the new grid.

        Parameters
        ----------
        scale : float or array_like, optional
            The new scale; the old one stays if not given.
        offset : float or array_like, optional
            The new offset; the current values (one float64 per element) if not given.

        Raises
        ------
        ValueError
            On a view, whose grid belongs to the array it was taken from.

        Examples
        --------
        >>> w = lpnum.zeros(3, dtype=lpnum.fixed8, scale=0.1)
        >>> w += [1.02, -2.0, 0.5]
        >>> w.recenter(scale=0.001)
        >>> w.codes, w.offset
        (array([0, 0, 0], dtype=int8), array([ 1. , -2. ,  0.5]))
        >>> w += 0.0204
        >>> w
        LPArray([ 1.02, -1.98,  0.52], format=lpnum.fixed8, scale=0.001, offset=array of shape (3,))

        References
        ----------
        De Sa et al., "High-accuracy low-precision training", 2018, arXiv:1803.03383, section 3.
        """
        if self._base is not None:
            raise ValueError("LPArray.recenter: this is a view of another array, whose grid it shares; use x.copy()")
        new_scale = None if scale is None else grid.as_metadata(scale, self.shape, "scale", positive=True)
        if offset is not None:
            new = self.rescale(self.scale if scale is None else scale, offset)
            self.codes, self._scale, self._offset = new.codes, new._scale, new._offset
            return
        if self._offset.shape == self.shape and self._offset.flags.writeable:
            _threads.elementwise(codec.COPY, self.operand(), None, self._offset)
            self.codes.fill(0)
        else:  # views made before keep the old codes and the old offset, and so their values
            self._offset, self._scale = self.dequantize(np.float64), self._scale.copy()
            self.codes = np.zeros(self.shape, self.codes.dtype)
        if new_scale is not None:
            if self._scale.shape == new_scale.shape:
                self._scale[...] = new_scale
            else:
                self._scale = new_scale

    def astype(self: LPArray, dtype: Any, *, copy: bool = True) -> Any:
        """Convert to another format, or to a plain array of a NumPy dtype.

        A float or a format with a binary point gets scale 1; a calibrated one made from floats is calibrated on the
        values ("absmax"), and made from fixed point it gets the smallest grid that holds every value the
        present grid can hold (per channel where it has channels), so more bits of the same kind convert exactly.

        Examples
        --------
        >>> x = lpnum.array([1.0, -0.5], dtype=lpnum.fixed8)
        >>> x.astype(lpnum.fixed16).scale == x.scale, x.astype(np.float32)
        (True, array([ 1.      , -0.503937], dtype=float32))
        """
        if not formats.is_format(dtype):
            block = formats.block_format(dtype)
            if block is not None:
                from lpnum import _block_creation  # made of LPArrays and their formats

                return _block_creation.from_values(self, block)
            return self.dequantize().astype(np.dtype(dtype), copy=False)
        fmt = formats.format(dtype)
        if fmt == self.format:
            return self.copy() if copy else self
        scale, offset = self._scale.copy(), self._offset.copy()
        if not fmt.calibrated:
            scale, offset = np.array(1.0), np.array(0.0)
        elif isinstance(self.format, FloatFormat):  # its whole range would be a useless grid
            scale, offset = map(np.asarray, calibrate(self.dequantize(np.float64), fmt))
        elif self.format.code_min < fmt.code_min or self.format.code_max > fmt.code_max or not self.format.calibrated:
            step = self._scale * self.format.unit
            ends = self._offset + step * self.format.code_min, self._offset + step * self.format.code_max
            bounds = cover(np.minimum(*ends), np.maximum(*ends), fmt)
            scale, offset = np.array(bounds[0]), np.array(bounds[1])
        from lpnum.array import unwritten

        new = unwritten(self.shape, fmt, scale, offset, self.dtype, self._policy)
        new._write(self, "LPArray.astype")
        return new
