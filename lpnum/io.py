"""Saving and loading: npz files with a JSON header, and safetensors files. No pickle, nothing is executed.

The layouts are described in docs/files.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from lpnum import _safetensors
from lpnum._files import is_path, writing
from lpnum._kinds import Parts, build, describe, formats_of, layout, plain_values
from lpnum._schema import (
    VERSION,
    Generators,
    check_version,
    dump,
    errors_of_damage,
    fields,
    invalid,
    named_arrays,
    parse,
)
from lpnum.array import LPArray
from lpnum.interop import codes_of_plain

__all__ = ["load", "load_safetensors", "save", "save_safetensors"]

_MMAP_MODES = {True: "r", "r": "r", "c": "c"}
_OWN = "lpnum"  # in the metadata of safetensors: what the tensors do not say themselves, as JSON


def save(file: Any, arrays: Any = None, /, **named: Any) -> None:
    """Write one array, or several with names, to an npz file.

    Parameters
    ----------
    file : path or binary file object
        A path is taken as it is, without a suffix added. An existing file is replaced in one step when the new one is
        complete and on the disk: a crash leaves the old file or the new one.
    arrays : LPArray, BlockArray, numpy.ndarray, or mapping of names to them
        One array, which `load` returns as such, or several, which it returns as a dict.
    **named
        Several arrays, by keyword.

    Raises
    ------
    TypeError
        For what is neither a low-precision array nor a plain array of numbers.
    ValueError
        For a name that cannot be stored.

    See Also
    --------
    load : reads the file.
    save_safetensors : a file that other frameworks read.

    Notes
    -----
    Codes, format, scale, offset, dtype, rounding, overflow and the state of the random generator are kept, to the bit:
    training goes on from a loaded array as if it had not stopped. The codes are stored as they are, aligned and
    uncompressed, so that they can be mapped into memory; to compress, give a file object:
    ``with gzip.open(path, "wb") as file: lpnum.save(file, x)``. The same arrays give the same bytes.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> lpnum.save(file, weights=lpnum.array([0.5, -1.27, 1.0]), mean=np.zeros(3))
    >>> lpnum.load(file)["weights"]
    LPArray([ 0.5 , -1.27,  1.  ], format=lpnum.fixed8, scale=0.01)
    >>> _ = file.seek(0)
    >>> np.load(file).files                                       # a plain npz file for NumPy
    ['lpnum.json', 'weights.codes', 'mean.values']
    """
    from lpnum import _npz

    where = "lpnum.save"
    if is_path(file) and os.fsdecode(file).endswith(".safetensors"):
        raise ValueError(f"{where}: writes npz files; for {os.fsdecode(file)!r} use lpnum.save_safetensors")
    single = arrays is not None and not isinstance(arrays, Mapping)
    chosen = named_arrays({"array": arrays} if single and not named else arrays, named, where)
    generators = Generators()
    entries, members = {}, {}
    for name, x in chosen.items():
        entries[name], parts = describe(x, generators, f"{where}: {name!r}")
        members.update({_member(name, part): values for part, values in parts.items()})
    header = {"lpnum": VERSION, "single": single, "arrays": entries, "generators": generators.to_json()}
    text = dump(header)
    with writing(file, where) as stream:
        _npz.write(stream, text, members)


def load(file: Any, *, mmap: bool | str = False, verify: bool = False) -> Any:
    """Read a file of `save`.

    Parameters
    ----------
    file : path, or binary file object that can seek (read from its beginning)
    mmap : {False, True, "r", "c"}
        Map codes, scale and offset arrays from the disk instead of reading them: for arrays larger than memory. True
        and "r" give read-only arrays; "c" gives arrays whose changes stay in memory. Needs a path.
    verify : bool
        With `mmap`, read everything once to compare the checksums. Without `mmap` that is always done.

    Returns
    -------
    LPArray or ndarray, or a dict of them by name

    Raises
    ------
    ValueError
        If the file is damaged, is not a file of `save`, or was written in a newer layout. Nothing that a file says
        makes this function allocate more than about the file's own length.

    Notes
    -----
    Mapped codes of a format that does not use all values of its bytes (fixed4, for example) are read once to check
    their range. A mapped file must not be changed by others; `save` to the same path replaces it, which is safe.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "x.npz")
    >>> lpnum.save(path, lpnum.arange(5))
    >>> x = lpnum.load(path, mmap=True)
    >>> x, x.codes.flags.writeable
    (LPArray([0., 1., 2., 3., 4.], format=lpnum.fixed8, scale=1), False)
    """
    from lpnum import _npz

    where = "lpnum.load"
    mode = _mmap_mode(mmap, file, where)
    with _opened(file, where) as stream, errors_of_damage(where, _npz.ERRORS):
        reader = _npz.Reader(stream, where)

        def read(name: str, part: str, dtype: Any) -> Any:
            if mode is None:
                return reader.array(_member(name, part), dtype)
            return reader.mapped(_member(name, part), dtype, mode, verify)

        header = parse(reader.header(), where)
        check_version(header.get("lpnum"), where)
        _, single, entries, generators = fields(header, ("lpnum", "single", "arrays", "generators"), where)
        if not isinstance(entries, dict) or type(single) is not bool or (single and len(entries) != 1):
            raise invalid(where, "'arrays' must be an object, and have one entry where 'single' is true")
        wanted = {name: layout(entry, where) for name, entry in entries.items()}
        reader.expect({_member(name, part) for name, parts in wanted.items() for part in parts})
        rngs = Generators.from_json(generators, where)
        arrays = {}
        for name, parts in wanted.items():
            stored = {part: read(name, part, dtype) for part, dtype in parts.items()}
            arrays[name] = build(entries[name], stored, rngs, where)
    return next(iter(arrays.values())) if single else arrays


def _mmap_mode(mmap: Any, file: Any, where: str) -> str | None:
    """The mode of `numpy.memmap`, None for reading into memory."""
    if mmap is False:
        return None
    if not isinstance(mmap, bool | str) or mmap not in _MMAP_MODES:
        raise ValueError(f"{where}: mmap must be False, True, 'r' or 'c', not {mmap!r}")
    if not is_path(file):
        raise ValueError(f"{where}: mmap needs a path, not a file object")
    return _MMAP_MODES[mmap]


def _opened(file: Any, where: str) -> Any:
    """A context manager of a binary file object; what the caller opened stays open."""
    if is_path(file):
        return open(file, "rb")
    if not (hasattr(file, "read") and hasattr(file, "seek")):
        raise TypeError(f"{where}: expected a path or a binary file object that can seek, not {type(file).__name__}")
    return nullcontext(file)


def _member(name: str, part: str) -> str:
    return f"{name}.{part}.npy"


# ---- safetensors ---------------------------------------------------------------------------------------------------


def save_safetensors(
    file: Any, arrays: Mapping[str, Any] | None = None, /, *, metadata: Mapping[str, str] | None = None, **named: Any
) -> None:
    """Write arrays to a safetensors file, which torch and other frameworks read.

    Parameters
    ----------
    file : path or binary file object
        An existing file is replaced in one step when the new one is complete, as in `save`.
    arrays : mapping of names to LPArrays, BlockArrays or numpy.ndarrays
    metadata : mapping of str to str, optional
        Texts kept in the header beside lpnum's own.
    **named
        The arrays, by keyword.

    Notes
    -----
    The codes of an array ``w`` are the tensor ``w``: F8_E4M3, F8_E5M2, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, BF16, F16 or
    F4 for the formats of these names, I8, U8, I16 or U16 for others. A scale other than 1 is the tensor ``w_scale``, an
    offset other than 0 ``w_offset``, both F64 and broadcasting to ``w``: value = offset + scale * w, for integers
    without a binary point too. A block array ``b`` has its scales in ``b_scale_codes`` (F8_E8M0 or F8_E4M3), and a
    tensor scale other than 1 in ``b_tensor_scale``; elements of 4 bits are packed in U8 as in memory. Exact formats and
    policies are in the metadata: `load_safetensors` gives equal arrays.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> lpnum.save_safetensors(file, w=lpnum.array([1.0, 448.0], dtype=lpnum.float8_e4m3fn))
    >>> lpnum.load_safetensors(file)["w"]
    LPArray([  1., 448.], format=lpnum.float8_e4m3fn, scale=1)
    """
    where = "lpnum.save_safetensors"
    texts = dict(metadata or {})
    if _OWN in texts or not all(isinstance(text, str) for pair in texts.items() for text in pair):
        raise TypeError(f"{where}: metadata must map str to str, without the key {_OWN!r}")
    generators = Generators()
    entries: dict[str, Any] = {}
    tensors: dict[str, _safetensors.Tensor] = {}
    for name, x in named_arrays(arrays, named, where).items():
        entry, parts = describe(x, generators, f"{where}: {name!r}")
        for part, values in _with_numbers(entry, parts).items():
            tensor = _tensor(name, part)
            if tensor in tensors or tensor == "__metadata__":
                raise ValueError(f"{where}: two tensors would have the name {tensor!r}; rename one array")
            tensors[tensor] = _safetensors.as_tensor(values, formats_of(entry, x).get(part), f"{where}: {name!r}")
        if entry["kind"] != "ndarray":  # of plain tensors the file says everything itself
            entries[name] = entry
    own = {"lpnum": VERSION, "arrays": entries, "generators": generators.to_json()}
    header, order = _safetensors.header_of(tensors, texts | {_OWN: dump(own).decode()}, where)
    with writing(file, where) as stream:
        _safetensors.write(stream, header, (tensors[name][2] for name in order))


def _with_numbers(entry: dict[str, Any], parts: Parts) -> Parts:
    """The parts, with a single scale or offset among them where it is not 1 or 0: other programs must see it."""
    parts = dict(parts)
    for name, neutral in (("scale", 1.0), ("offset", 0.0), ("tensor_scale", 1.0)):
        if isinstance(entry.get(name), float) and entry[name] != neutral:
            parts[name] = np.array(entry[name])
            entry[name] = "array"
    return parts


def _tensor(name: str, part: str) -> str:
    return name if part in ("codes", "values") else f"{name}_{part}"


def load_safetensors(file: Any, *, mmap: bool | str = False, scale_suffix: str | None = None) -> dict[str, Any]:
    """Read a safetensors file, of `save_safetensors` or of another program.

    Parameters
    ----------
    file : path, or binary file object that can seek (read from its beginning)
    mmap : {False, True, "r", "c"}
        Map the tensors from the disk instead of reading them, as in `load`. (F4 is unpacked into memory.)
    scale_suffix : str, optional
        For files of other programs: a tensor whose name ends so is the scale of the tensor named before it, as in
        ``"_scale"`` for ``layer.weight`` and ``layer.weight_scale``. It must broadcast.

    Returns
    -------
    dict of names to LPArrays and ndarrays
        In a file of another program, types that NumPy has (float16 too) give ndarrays; F8_*, F4 and BF16 give LPArrays
        with scale 1. What has a scale by `scale_suffix` gives an LPArray with it, integers and F16 too.

    Raises
    ------
    ValueError
        If the file is damaged or holds a dtype that is not known. What this function allocates is bounded in proportion
        to the length of the file. (The layout has no checksums: changed codes are not noticed.)

    Examples
    --------
    >>> import io
    >>> header = b'{"w":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[0,2]}}'
    >>> lpnum.load_safetensors(io.BytesIO(len(header).to_bytes(8, "little") + header + bytes([0x3c, 0xc0])))["w"]
    LPArray([ 1., -2.], format=lpnum.float8_e5m2, scale=1)
    """
    where = "lpnum.load_safetensors"
    mode = _mmap_mode(mmap, file, where)
    with _opened(file, where) as stream, errors_of_damage(where):
        reader = _safetensors.Reader(stream, where, mode)
        own = reader.metadata.get(_OWN)
        if own is None:
            return _foreign(reader, scale_suffix, where)
        header = parse(own.encode(), where)
        check_version(header.get("lpnum"), where)
        _, entries, generators = fields(header, ("lpnum", "arrays", "generators"), where)
        if not isinstance(entries, dict):
            raise invalid(where, "'arrays' must be an object")
        rngs = Generators.from_json(generators, where)
        arrays: dict[str, Any] = {}
        plain = set(reader.tensors)
        for name, entry in entries.items():
            stored = {}
            for part, dtype in layout(entry, where).items():
                stored[part] = reader.raw(_tensor(name, part))
                plain.discard(_tensor(name, part))
                if stored[part].dtype != dtype:
                    raise invalid(where, f"{name!r:.80}: the {part} are {stored[part].dtype}, and not {dtype}")
            arrays[name] = build(entry, stored, rngs, where)
            for part, fmt in formats_of(entry, arrays[name]).items():
                said = _safetensors.FORMAT_OF.get(reader.tensors[_tensor(name, part)][0])
                if said not in (None, fmt):
                    raise invalid(where, f"{name!r:.80}: the format is {fmt!r}, and that of the tensor {said!r}")
        return arrays | {name: _tensor_alone(reader, name, where) for name in sorted(plain)}


def _tensor_alone(reader: _safetensors.Reader, name: str, where: str) -> Any:
    """A tensor of which only the file's own dtype is known."""
    values, dtype = reader.raw(name), reader.tensors[name][0]
    if dtype == "F16":  # NumPy has it
        values = values.view("<f2")
    elif dtype in _safetensors.FORMAT_OF:
        return LPArray(values, _safetensors.FORMAT_OF[dtype])
    return plain_values(values, where)


def _foreign(reader: _safetensors.Reader, scale_suffix: str | None, where: str) -> dict[str, Any]:
    """The tensors of a file without lpnum's metadata."""
    scales = {}
    if scale_suffix:
        ends = [name for name in reader.tensors if name.endswith(scale_suffix)]
        scales = {
            name.removesuffix(scale_suffix): name for name in ends if name.removesuffix(scale_suffix) in reader.tensors
        }
    arrays: dict[str, Any] = {}
    for name in sorted(set(reader.tensors) - set(scales.values())):
        arrays[name] = x = _tensor_alone(reader, name, where)
        if name in scales:
            scale = _tensor_alone(reader, scales[name], where)
            codes, fmt = (x.codes, x.format) if isinstance(x, LPArray) else codes_of_plain(x, f"{where}: {name!r:.80}")
            try:
                arrays[name] = LPArray(codes, fmt, np.asarray(scale, dtype=np.float64))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{where}: {scales[name]!r:.80} does not serve as the scale of {name!r:.80}: {error}"
                ) from None
    return arrays
