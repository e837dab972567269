"""Texts: characters, split, windows whose targets are shifted by one."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lpnum_optim import deep  # noqa: E402

VERSE = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("string", [VERSE, "a\r\nb\n", "çé€𝄞ß", "".join(map(chr, range(1, 600)))])
def test_codes_decode_to_the_text(string: str, tmp_path: Path) -> None:
    text = deep.load_text(write(tmp_path / "t.txt", string))
    assert text.decode(text.codes) == string
    assert text.characters == "".join(sorted(set(string)))
    assert text.codes.dtype == (torch.uint8 if len(text.characters) <= 256 else torch.int32)
    assert len(text) == len(string)


@pytest.mark.parametrize(("length", "stride"), [(1, None), (7, None), (10, 3), (5, 9)])
def test_targets_are_the_characters_that_follow(length: int, stride: int | None, tmp_path: Path) -> None:
    text = deep.load_text(write(tmp_path / "t.txt", VERSE))
    seen = []
    for inputs, targets in deep.text_batches(text, 4, length, stride=stride, shuffle=False):
        assert inputs.dtype == targets.dtype == torch.int64
        assert inputs.shape == targets.shape
        for x, y in zip(inputs, targets, strict=True):
            seen.append(text.decode(x))
            assert text.decode(y) == VERSE[(start := (len(seen) - 1) * (stride or length)) + 1 : start + length + 1]
            assert seen[-1] == VERSE[start : start + length]
    assert len(seen) == (len(VERSE) - 1 - length) // (stride or length) + 1


def test_split_parts_are_the_text_and_share_its_characters(tmp_path: Path) -> None:
    text = deep.load_text(write(tmp_path / "t.txt", VERSE))
    train, validation = text.split(0.25)
    assert train.decode(train.codes) + validation.decode(validation.codes) == VERSE
    assert len(validation) == round(len(VERSE) / 4)
    assert train.characters == validation.characters == text.characters
    again = deep.load_text(write(tmp_path / "v.txt", "be not"), characters=text.characters)
    assert text.decode(again.codes) == "be not"
    for share in (1.0, 1e-9):
        with pytest.raises(ValueError, match="leaves one part empty"):
            text.split(share)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no file '.*t\.txt'"),
        (b"", r"t\.txt' is empty"),
        (b"abc\xff", r"t\.txt' is not UTF-8 text: byte 3 is 0xff; convert it"),
        (b"\x1f\x8b\x08\x00", r"byte 1 is 0x8b; .*unpack"),
        ("abcX", r"load_text\('t\.txt'\): 1 characters are not among the 3 of the text, the first 'X' at position 3"),
    ],
)
def test_a_bad_text_is_named(content: str | bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    if content is not None:
        write(path, content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        deep.load_text(path, characters="abc" if content == "abcX" else None)


def test_a_text_shorter_than_a_window_is_an_error() -> None:
    text = deep.Text(torch.zeros(5, dtype=torch.uint8), "a")
    with pytest.raises(ValueError, match=r"the text has 5 characters; a window of 5 and its targets need 6"):
        deep.text_batches(text, 1, 5)
    assert len(deep.text_batches(text, 1, 4)) == 1
