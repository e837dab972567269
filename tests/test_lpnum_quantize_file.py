"""`python -m lpnum quantize`: the result and the report, and what happens when something fails."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import lines_of

import lpnum
from lpnum import _npz, _quantize_file, _threads
from lpnum.cli import main

# ---- quantize: the result --------------------------------------------------------------------------------------------


def quantize(capsys: Any, source: Path, output: Path, *options: str) -> dict[str, Any]:
    """Run the command; its report."""
    before = source.read_bytes()
    assert main(["quantize", str(source), str(output), "--json", *options]) == 0
    assert source.read_bytes() == before
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def load(output: Path) -> dict[str, Any]:
    """The output's array, in parts."""
    x = lpnum.load(output)
    return {name: getattr(x, name) for name in ("codes", "scale", "offset", "format", "dtype")}


@pytest.fixture
def gaussian(tmp_path: Path) -> tuple[Path, np.ndarray]:
    values = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
    values[3, 4] = 0.0
    np.save(tmp_path / "in.npy", values)
    return tmp_path / "in.npy", values


def test_the_codes_and_the_report_equal_what_numpy_computes(gaussian, tmp_path, capsys):
    source, values = gaussian
    report = quantize(capsys, source, tmp_path / "out.npz", "--format", "fixed8", "--scale", "0.02")
    exact = values.astype(np.float64)
    rounded = np.rint(exact / 0.02)
    codes = np.clip(rounded, -128, 127)
    errors = 0.02 * codes - exact
    out = load(tmp_path / "out.npz")
    np.testing.assert_array_equal(out["codes"], codes.astype(np.int8))
    assert (float(out["scale"]), float(out["offset"])) == (0.02, 0.0)
    assert out["format"] == lpnum.fixed8
    assert report["count"] == 1200
    assert report["saturated"] == np.count_nonzero((rounded > 127) | (rounded < -128)) > 0
    assert report["zeroed"] == np.count_nonzero((exact != 0) & (codes == 0)) > 0
    assert report["nan"] == 0
    assert report["max_abs_error"] == pytest.approx(np.abs(errors).max(), rel=1e-12)
    assert report["rms_error"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    decibels = 10 * np.log10(np.sum(exact**2) / np.sum(errors**2))
    assert report["signal_to_noise_db"] == pytest.approx(decibels, rel=1e-12)
    assert report["bytes_before"] == values.nbytes
    assert report["bytes_after"] == 1200 + 16


def test_the_report_for_people_has_the_same_numbers(gaussian, tmp_path, capsys):
    source, _ = gaussian
    report = quantize(capsys, source, tmp_path / "a.npz", "--format", "float8_e4m3fn")
    lines = lines_of(capsys, "quantize", str(source), str(tmp_path / "b.npz"), "--format", "float8_e4m3fn")
    assert lines[0] == f"{source}: float32, shape (40, 30)"
    assert lines[1] == f"{tmp_path / 'b.npz'}: float8_e4m3fn, scale 1, offset 0, nearest-even, clamp"
    found = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines[2:])
    assert found["values"] == "1200"
    assert float(found["max abs error"]) == pytest.approx(report["max_abs_error"], rel=1e-5)
    assert float(found["rms error"]) == pytest.approx(report["rms_error"], rel=1e-5)
    assert float(found["signal to noise"].split()[0]) == pytest.approx(report["signal_to_noise_db"], abs=0.006)
    assert found["bytes"] == "4800 -> 1216 (25.3%)"


@pytest.mark.parametrize("part", [1, 7, 64, 10**6])
@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "fixed8"},
        {"dtype": "fixed8", "axis": 1},
        {"dtype": "ufixed4", "axis": -2, "calibration": "minmax"},
        {"dtype": "fixed16", "offset": 0.25},
        {"dtype": "float8_e5m2", "calibration": "absmax"},
        {"dtype": "fixed8", "rounding": "stochastic", "rng": 11},
        {"dtype": "float8_e4m3fn", "scale": 0.5, "rounding": "stochastic", "rng": 5},
        {"dtype": "bfloat16", "rounding": "towards-zero"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_codes_read_in_parts_are_those_of_the_whole_array(part, options, gaussian, tmp_path, capsys, monkeypatch):
    source, values = gaussian
    monkeypatch.setattr(_quantize_file, "PART", part)
    options = dict(options)
    expected = None
    fmt = lpnum.format(options["dtype"])
    if isinstance(fmt, lpnum.FloatFormat) and "calibration" in options:  # asked for: calibrated although it is a float
        scale = float(np.abs(values).max()) / fmt.max
        expected = lpnum.array(values, fmt, scale=scale)
    else:
        expected = lpnum.array(values, **options)
    flags = {"dtype": "format", "rng": "seed"}
    arguments = [f"--{flags.get(key, key)}={value}" for key, value in options.items()]
    report = quantize(capsys, source, tmp_path / "out.npz", *arguments)
    out = load(tmp_path / "out.npz")
    np.testing.assert_array_equal(out["codes"], expected.codes)
    np.testing.assert_array_equal(out["scale"], expected.scale)
    np.testing.assert_array_equal(out["offset"], expected.offset)
    errors = expected.dequantize(np.float64) - values
    assert report["max_abs_error"] == np.abs(errors).max()
    assert report["rms_error"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)


def test_threads_do_not_change_codes_read_in_parts(gaussian, tmp_path, capsys, monkeypatch):
    source, values = gaussian
    expected = lpnum.array(values, dtype=lpnum.fixed4, rounding="stochastic", rng=9).codes
    monkeypatch.setattr(_quantize_file, "PART", 450)
    monkeypatch.setattr(_threads, "SMALLEST", 64)
    monkeypatch.setattr(_threads, "_GRANULE", 1)
    lpnum.set_num_threads(3)
    try:
        quantize(capsys, source, tmp_path / "out.npz", "--format", "fixed4", "--rounding", "stochastic", "--seed", "9")
    finally:
        lpnum.set_num_threads(1)
    np.testing.assert_array_equal(load(tmp_path / "out.npz")["codes"], expected)


def test_calibration_by_rms_in_parts_agrees_to_rounding(gaussian, tmp_path, capsys, monkeypatch):
    source, values = gaussian
    monkeypatch.setattr(_quantize_file, "PART", 100)
    quantize(capsys, source, tmp_path / "out.npz", "--format", "fixed8", "--calibration", "rms", "--axis", "0")
    expected = lpnum.array(values, calibration="rms", axis=0).scale
    np.testing.assert_allclose(load(tmp_path / "out.npz")["scale"], expected, rtol=1e-14)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(-5, 6, dtype=np.int32).reshape(1, 11),
        np.array([True, False]),
        np.linspace(-1, 1, 7).astype(np.float16),
        np.linspace(-1, 1, 7).astype(">f8"),
        np.asfortranarray(np.linspace(-1, 1, 12).reshape(3, 4)),
        np.array(2.5),
        np.zeros((0, 3)),
        np.array([1e300, -1e300, 1e-300]),
    ],
    ids=["int32", "bool", "float16", "big-endian", "fortran", "0-d", "empty", "huge"],
)
def test_any_real_array_is_accepted(values, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_quantize_file, "PART", 3)
    np.save(tmp_path / "in.npy", values)
    report = quantize(capsys, tmp_path / "in.npy", tmp_path / "out.npz", "--format", "fixed8")
    expected = lpnum.array(values)
    out = load(tmp_path / "out.npz")
    np.testing.assert_array_equal(out["codes"], expected.codes)
    assert out["codes"].shape == values.shape
    assert float(out["scale"]) == expected.scale
    assert out["dtype"] == expected.dtype
    assert report["count"] == values.size
    assert np.isfinite(report["rms_error"])


def test_codes_that_memory_should_not_hold_wait_in_a_file(gaussian, tmp_path, capsys, monkeypatch):
    source, values = gaussian
    monkeypatch.setattr(_quantize_file, "IN_MEMORY", 100)
    quantize(capsys, source, tmp_path / "out.npz", "--format", "fixed8")
    np.testing.assert_array_equal(load(tmp_path / "out.npz")["codes"], lpnum.array(values).codes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npy", "out.npz"]


def test_an_array_of_an_npz_is_chosen_by_its_key(tmp_path, capsys):
    np.savez(tmp_path / "two.npz", a=np.arange(3.0), b=np.arange(4.0))
    report = quantize(capsys, tmp_path / "two.npz", tmp_path / "out.npz", "--format", "fixed8", "--key", "b")
    assert report["shape"] == [4]
    np.savez_compressed(tmp_path / "one.npz", a=np.arange(3.0))
    assert quantize(capsys, tmp_path / "one.npz", tmp_path / "out.npz", "--format", "fixed8")["shape"] == [3]


def test_nan_and_infinity_are_counted_and_left_out_of_the_errors(tmp_path, capsys):
    np.save(tmp_path / "in.npy", np.array([1.1, np.nan, np.inf, -500.0, 1e-9, np.nan, 0.0]))
    report = quantize(capsys, tmp_path / "in.npy", tmp_path / "out.npz", "--format", "float8_e4m3fn")
    wanted = {"count": 7, "nan": 2, "infinite": 1, "saturated": 2, "zeroed": 1, "max_abs_error": 52.0}
    assert {key: report[key] for key in wanted} == wanted
    options = ["--format", "fixed8", "--scale", "1", "--nan", "7"]
    report = quantize(capsys, tmp_path / "in.npy", tmp_path / "out.npz", *options)
    assert load(tmp_path / "out.npz")["codes"].tolist() == [1, 7, 127, -128, 0, 7, 0]
    assert report["nan"] == 2


def test_overflow_to_infinity_is_an_infinite_error(tmp_path, capsys):
    np.save(tmp_path / "in.npy", np.array([1.0, 1e6]))
    options = ["--format", "float8_e5m2", "--overflow", "ieee"]
    report = quantize(capsys, tmp_path / "in.npy", tmp_path / "out.npz", *options)
    assert report["max_abs_error"] is report["rms_error"] is report["signal_to_noise_db"] is None  # JSON has no inf
    assert report["saturated"] == 1
    lines = lines_of(capsys, "quantize", str(tmp_path / "in.npy"), str(tmp_path / "out.npz"), *options)
    assert "  signal to noise  -inf dB" in lines


def test_stochastic_rounding_without_a_seed_reports_the_one_it_took(gaussian, tmp_path, capsys):
    source, _ = gaussian
    options = ["--format", "fixed4", "--rounding", "stochastic"]
    seed = quantize(capsys, source, tmp_path / "a.npz", *options)["seed"]
    quantize(capsys, source, tmp_path / "b.npz", *options, "--seed", str(seed))
    np.testing.assert_array_equal(load(tmp_path / "a.npz")["codes"], load(tmp_path / "b.npz")["codes"])


@pytest.mark.parametrize("part", [50, 10**6])
def test_the_picture_counts_every_value(part, gaussian, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    from lpnum import _plot_quantization

    source, values = gaussian
    monkeypatch.setattr(_quantize_file, "PART", part)
    seen = []
    draw = _plot_quantization.draw_quantization
    monkeypatch.setattr(_plot_quantization, "draw_quantization", lambda *args: seen.append(args) or draw(*args))
    options = ["--format", "fixed4", "--plot", str(tmp_path / "out.svg")]
    quantize(capsys, source, tmp_path / "out.npz", *options)
    assert b"<svg" in (tmp_path / "out.svg").read_bytes()
    histograms, x, _ = seen[0]
    for counted, data in ((histograms.values, values), (histograms.errors, np.asarray(x, np.float64) - values)):
        np.testing.assert_array_equal(counted[0], np.histogram(data, counted[1])[0])
        assert counted[0].sum() == 1200


# ---- quantize: failures ----------------------------------------------------------------------------------------------


def fails(capsys: Any, *arguments: Any) -> tuple[int, str]:
    """Exit code and message; the message has no traceback."""
    try:
        code = main(["quantize", *map(str, arguments)])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return code, captured.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*No such file"),
        (b"", "neither an .npy nor an .npz"),
        (b"hello, this is text", "neither an .npy nor an .npz"),
        (b"\x93NUMPY\x01\x00\x10", "damaged"),
        (b"PK\x03\x04 and no more", "damaged"),
        (np.array([1j]), "real numbers, not of dtype complex128"),
        (np.array(["a"]), "real numbers, not of dtype <U1"),
        (np.array([1, None]), "not of Python objects"),
        (np.array([(1, 2.0)], dtype="i4,f8"), "real numbers"),
        (np.array(["2026-01-01"], dtype="M8[D]"), "real numbers"),
        ({"a": np.ones(2), "b": np.ones(2)}, "holds 2 arrays; name one with --key: a, b"),
        ({"a": np.array([None])}, "not of Python objects"),
        ({}, "holds 0 arrays"),
        (np.array([1.0, np.nan]), "NaN or infinity, so no scale .* --scale .* --nan"),
    ],
    ids=lambda x: re.sub(r"\W+", "-", str(x))[:30],
)
def test_a_file_at_fault_ends_with_code_1_and_what_is_wrong(content, message, tmp_path, capsys):
    source = tmp_path / "in.npy"
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif isinstance(content, dict):
        with open(source, "wb") as file:
            np.savez(file, **content)
    elif content is not None:
        np.save(source, content, allow_pickle=True)
    code, text = fails(capsys, source, tmp_path / "out.npz", "--format", "fixed8")
    assert code == 1
    assert re.search(message, text)
    assert not (tmp_path / "out.npz").exists()


def test_a_truncated_file_is_named_as_damaged(gaussian, tmp_path, capsys):
    source, _ = gaussian
    source.write_bytes(source.read_bytes()[:1000])
    code, text = fails(capsys, source, tmp_path / "out.npz", "--format", "fixed8")
    assert (code, "damaged" in text) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "required: --format"),
        (["--format", "fixed8", "--scale", "0"], "not greater than 0"),
        (["--format", "fixed8", "--scale", "nan"], "not a finite number"),
        (["--format", "fixed8", "--scale", "1", "--calibration", "rms"], "one or the other"),
        (["--format", "fixed8", "--scale", "1", "--axis", "0"], "one or the other"),
        (["--format", "float8_e5m2", "--axis", "0"], "add --calibration"),
        (["--format", "fixed8", "--axis", "2"], "the array has 2 dimensions"),
        (["--format", "fixed8", "--overflow", "ieee"], "is for floats"),
        (["--format", "float8_e5m2", "--overflow", "wrap"], "is for fixed point"),
        (["--format", "fixed8", "--rounding", "nearest"], "invalid choice: 'nearest'"),
        (["--format", "fixed8", "--seed", "-1"], "not an integer from 0"),
        (["--format", "fixed8", "--key", "a"], "holds one array"),
    ],
)
def test_arguments_that_do_not_fit_end_with_code_2(options, message, gaussian, tmp_path, capsys):
    code, text = fails(capsys, gaussian[0], tmp_path / "out.npz", *options)
    assert code == 2
    assert message in text
    assert not (tmp_path / "out.npz").exists()


def test_the_input_is_never_overwritten(tmp_path, capsys):
    source = tmp_path / "a.npz"
    np.savez(source, a=np.ones(3))
    (tmp_path / "link.npz").symlink_to(source)
    before = source.read_bytes()
    for output in (source, tmp_path / "link.npz", tmp_path / "." / "a.npz"):
        code, text = fails(capsys, source, output, "--format", "fixed8")
        assert (code, "never overwritten" in text) == (2, True)
    code, text = fails(capsys, source, tmp_path / "out.npy", "--format", "fixed8")
    assert (code, "must end in .npz" in text) == (2, True)
    assert source.read_bytes() == before


def test_an_output_that_cannot_be_written_is_named(gaussian, tmp_path, capsys):
    code, text = fails(capsys, gaussian[0], tmp_path / "missing" / "out.npz", "--format", "fixed8")
    assert (code, "no folder" in text) == (1, True)
    (tmp_path / "folder.npz").mkdir()
    code, text = fails(capsys, gaussian[0], tmp_path / "folder.npz", "--format", "fixed8")
    assert (code, "is not a file" in text) == (1, True)


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write anywhere")
def test_a_folder_without_permission_is_named(gaussian, tmp_path, capsys):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    code, text = fails(capsys, gaussian[0], folder / "out.npz", "--format", "fixed8")
    assert (code, "Permission denied" in text) == (1, True)


def test_a_failure_leaves_the_old_output_and_no_scrap(gaussian, tmp_path, capsys, monkeypatch):
    source, _ = gaussian
    output = tmp_path / "out.npz"
    output.write_bytes(b"the old one")

    def break_off(file: Any, *content: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_npz, "write", break_off)
    code, text = fails(capsys, source, output, "--format", "fixed8")
    assert (code, "No space left" in text) == (1, True)
    assert output.read_bytes() == b"the old one"
    code, _ = fails(capsys, source, output, "--format", "fixed8", "--scale", "0.01", "--overflow", "error")
    assert code == 1
    assert output.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npy", "out.npz"]


def test_an_interrupt_leaves_the_old_output_and_no_scrap(gaussian, tmp_path, capsys, monkeypatch):
    def interrupt(file: Any, *content: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_npz, "write", interrupt)
    code, text = fails(capsys, gaussian[0], tmp_path / "out.npz", "--format", "fixed8")
    assert (code, text) == (1, "lpnum: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


def test_values_out_of_range_are_named_by_their_index_in_the_whole_array(gaussian, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_quantize_file, "PART", 7)
    values = np.zeros((5, 4))
    values[3, 1] = 1e9
    np.save(tmp_path / "in.npy", values)
    options = ["--format", "fixed8", "--scale", "1", "--overflow", "error"]
    code, text = fails(capsys, tmp_path / "in.npy", tmp_path / "out.npz", *options)
    assert code == 1
    assert "first at index (3, 1)" in text
    assert "--overflow 'clamp'" in text
    values[3, 1] = np.nan
    np.save(tmp_path / "in.npy", values)
    code, text = fails(capsys, tmp_path / "in.npy", tmp_path / "out.npz", "--format", "fixed8", "--scale", "1")
    assert "first at index (3, 1)" in text
    assert "pass --nan <value>" in text


def test_an_output_that_is_a_link_stays_one(gaussian, tmp_path, capsys):
    (tmp_path / "link.npz").symlink_to(tmp_path / "target.npz")
    quantize(capsys, gaussian[0], tmp_path / "link.npz", "--format", "fixed8")
    assert (tmp_path / "link.npz").is_symlink()
    assert load(tmp_path / "target.npz")["codes"].shape == (40, 30)


def test_a_new_output_has_the_permissions_of_any_new_file(gaussian, tmp_path, capsys):
    quantize(capsys, gaussian[0], tmp_path / "out.npz", "--format", "fixed8")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "out.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode
