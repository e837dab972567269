"""Text for character models: codes, windows whose targets are the next characters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpnum_optim._checks import integer, real

from .batches import Batches

__all__ = ["Text", "load_text", "text_batches"]


@dataclass(frozen=True)
class Text:
    """A text as numbers of its characters.

    Attributes
    ----------
    codes : uint8 tensor (n,) (int32 for more than 256 characters)
        Places in `characters`.
    characters : str
        The distinct characters, in the order of their code points.
    """

    codes: Tensor
    characters: str

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"<Text: {len(self)} characters, {len(self.characters)} different>"

    def split(self, validation: float = 0.1) -> tuple[Text, Text]:
        """The beginning for training and the last part, so large a share, for validation."""
        share = real("Text.split", "validation", validation)
        at = len(self) - round(len(self) * share)
        if not 0 < at < len(self):
            raise ValueError(
                f"Text.split: validation = {validation!r} of {len(self)} characters leaves one part empty; expected "
                "a share between 0 and 1"
            )
        return Text(self.codes[:at], self.characters), Text(self.codes[at:], self.characters)

    def encode(self, string: str, where: str = "Text.encode") -> Tensor:
        """Codes of a string of these characters."""
        points = _points(self.characters)
        found = _points(string)
        places = np.minimum(np.searchsorted(points, found), len(points) - 1)
        unknown = np.flatnonzero(points[places] != found)
        if unknown.size:
            raise ValueError(
                f"{where}: {unknown.size} characters are not among the {len(points)} of the text, the first "
                f"{string[unknown[0]]!r} at position {unknown[0]}; load the texts together or replace it"
            )
        return torch.from_numpy(places.astype(np.uint8 if len(points) <= 256 else np.int32))

    def decode(self, codes: Any) -> str:
        """The string of some codes.

        >>> text = Text(torch.tensor([1, 0], dtype=torch.uint8), "ab")
        >>> text.decode(text.codes), text.encode("abba")
        ('ba', tensor([0, 1, 1, 0], dtype=torch.uint8))
        """
        return "".join(self.characters[code] for code in torch.as_tensor(codes).flatten().tolist())


def _points(string: str) -> np.ndarray:
    """Unicode code points."""
    return np.frombuffer(string.encode("utf-32-le"), np.uint32)


def load_text(path: str | Path, characters: str | None = None) -> Text:
    """A text file (UTF-8) as codes.

    Parameters
    ----------
    path : str or Path
    characters : str, optional
        Those of another text, to have the same codes.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, it is empty, not UTF-8, or has characters that are not among the given ones.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_text: no file {str(path)!r}; expected a plain text file")
    try:
        string = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"load_text: {str(path)!r} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}; "
            "convert it (iconv -t utf-8), or unpack it if it is an archive"
        ) from None
    if not string:
        raise ValueError(f"load_text: {str(path)!r} is empty")
    if characters is None:
        points = _points(string)
        present = np.zeros(int(points.max()) + 1, bool)
        present[points] = True
        characters = np.flatnonzero(present).astype(np.uint32).tobytes().decode("utf-32-le")
    else:
        characters = "".join(sorted(set(characters)))
    return Text(Text(torch.empty(0), characters).encode(string, f"load_text({path.name!r})"), characters)


def text_batches(
    text: Text, batch_size: int, length: int, *, stride: int | None = None, shuffle: bool = True, seed: int = 0,
    limit: int | None = None, drop_last: bool = False,
) -> Batches:  # fmt: skip
    """Batches of windows: inputs (batch, length) and targets (batch, length), the characters that follow; both int64.

    Parameters
    ----------
    text : Text
    batch_size, length : int
    stride : int, optional
        From one window's beginning to the next; `length` if not given: every character is predicted once.
    shuffle, seed, limit, drop_last
        As for `Batches`. The samples are the windows.

    Examples
    --------
    >>> text = Text(torch.tensor([0, 1, 2, 3, 4, 5, 6], dtype=torch.uint8), "abcdefg")
    >>> inputs, targets = next(iter(text_batches(text, 2, 3, shuffle=False)))
    >>> inputs, targets
    (tensor([[0, 1, 2],
            [3, 4, 5]]), tensor([[1, 2, 3],
            [4, 5, 6]]))
    """
    length = integer("text_batches", "length", length, 1)
    stride = integer("text_batches", "stride", length if stride is None else stride, 1)
    if len(text) <= length:
        raise ValueError(
            f"text_batches: the text has {len(text)} characters; a window of {length} and its targets need "
            f"{length + 1}. Choose a smaller length"
        )
    windows = text.codes.unfold(0, length + 1, stride)
    data = windows[:, :-1], windows[:, 1:]
    return Batches(
        data, batch_size, transform=Tensor.long, shuffle=shuffle, seed=seed, limit=limit, drop_last=drop_last
    )
