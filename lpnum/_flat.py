"""``x.flat``: the elements of an LPArray in C order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lpnum.array import LPArray


class FlatIterator:
    """Iterates over values; indices and assignments go to flat positions of the array, copies of no more than those.

    Examples
    --------
    >>> x = lpnum.arange(6).reshape(2, 3)
    >>> x.flat[4], x.T.flat[:3]
    (np.float64(4.0), LPArray([0., 3., 1.], format=lpnum.fixed8, scale=1))
    >>> x.flat[[0, 5]] = 9
    >>> np.asarray(x)
    array([[9., 1., 2.],
           [3., 4., 9.]])
    """

    __slots__ = ("_array", "_next")

    def __init__(self, array: LPArray) -> None:
        self._array, self._next = array, 0

    @property
    def base(self) -> LPArray:
        """The array."""
        return self._array

    @property
    def index(self) -> int:
        """Flat position of the next element."""
        return self._next

    @property
    def coords(self) -> tuple[int, ...]:
        """Index of the next element."""
        return tuple(int(k) for k in np.unravel_index(self._next, self._array.shape))

    def copy(self) -> LPArray:
        """The elements as an array of one dimension."""
        return self._array.flatten()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.copy().__array__(dtype)

    def __len__(self) -> int:
        return self._array.size

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._next >= len(self):
            raise StopIteration
        value = self[self._next]
        self._next += 1
        return value

    def _places(self, index: Any) -> Any:
        """Index of the array for one of the flat positions."""
        size = self._array.size
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            if not -size <= index < size:
                raise IndexError(f"index {index} is out of bounds for size {size}")
            return tuple(int(k) for k in np.unravel_index(int(index) % size, self._array.shape))
        if isinstance(index, slice):
            positions = np.arange(*index.indices(size))
        else:
            positions = np.arange(size)[index]
        return np.unravel_index(positions, self._array.shape)

    def __getitem__(self, index: Any) -> Any:
        x = self._array
        return (
            x.reshape(-1)[index].copy() if x.flags.c_contiguous and isinstance(index, slice) else x[self._places(index)]
        )

    def __setitem__(self, index: Any, values: Any) -> None:
        places = self._places(slice(None) if index is Ellipsis else index)
        from lpnum._choosing import repeated

        n = np.size(places[0])
        if np.size(values) != 1 and n:
            values = repeated(values, np.arange(n)).reshape(np.shape(places[0]))
        self._array[places] = values
