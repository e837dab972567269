"""Reports tell every tensor once, and their totals are those of the rows; text, CSV and picture agree."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="lpnum_optim.deep is for PyTorch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import OCP, PrecisionPlan  # noqa: E402
from lpnum_optim.deep.loss_scaling import LossScale  # noqa: E402
from lpnum_optim.deep.models import resnet18  # noqa: E402
from lpnum_optim.deep.report import Report  # noqa: E402


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


def small_report(ratio: float = 0.5) -> Report:
    return PrecisionPlan.demote(small(), torch.zeros(16, 3, 8, 8), ratio).report()


def test_totals_are_those_of_the_rows_and_of_the_authors_table() -> None:
    with torch.device("meta"):
        net, batch = resnet18(100), torch.empty(128, 3, 32, 32)
    report = PrecisionPlan.demote(net, batch, 1.0).report()
    assert report.bytes == sum(row.bytes for row in report.rows) == sum(report.bytes_by_format.values())
    assert report.float32_bytes == 4 * sum(row.elements for row in report.rows)
    assert set(report.bytes_by_format) == {"FP(4,3,4)", "FP(5,2,0)", "FP(6,9,0)"}
    lines = report.summary.splitlines()
    assert lines[0].endswith("97.9 % of the elements")
    assert lines[2].split() == ["float32", "2073.20"]
    assert lines[3].split() == ["16", "bits", "1036.60", "2.00", "x"]
    assert lines[4].split()[2:] == ["3.92", "x", "1.96", "x"]


def test_every_tensor_has_one_row_in_the_format_that_it_has() -> None:
    report = small_report(0.0)
    names = [(row.kind, row.tensor) for row in report.rows]
    assert len(set(names)) == len(names) == 2 * (1 + 4 + 6)
    assert {row.level for row in report.rows} == {"high"}
    assert {row.format for row in report.rows} == {"FP(6,9,0)"}
    one = PrecisionPlan.uniform(small(), torch.zeros(16, 3, 8, 8), **OCP).report()
    assert {(row.kind, row.level, row.format) for row in one.rows} == {
        ("parameter", "low", "float8_e4m3fn"),
        ("output", "low", "float8_e4m3fn"),
        ("parameter-gradient", "high", "bfloat16"),
        ("output-gradient", "low", "float8_e5m2"),
    }
    assert [row.bytes for row in one.rows if row.kind == "output"] == [
        row.elements for row in one.rows if row.kind == "output"
    ]


def test_parts_of_a_split_have_names_of_their_own() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.layer(x).chunk(2, 1)
            return a * b

    rows = PrecisionPlan.uniform(Split(), torch.ones(2, 4)).report().rows
    assert [row.tensor for row in rows if row.kind == "output"] == [
        "input", "layer:linear:0", ":chunk:1", ":chunk:1[1]", ":mul:2",
    ]  # fmt: skip


def test_the_text_is_a_table_of_all_rows_under_the_totals() -> None:
    report = small_report()
    text = str(report).splitlines()
    assert text[0] == report.summary.splitlines()[0]
    header = next(k for k, line in enumerate(text) if line.startswith("tensor"))
    assert text[header].split() == ["tensor", "kind", "group", "level", "format", "elements", "bytes"]
    assert len(text) - header - 1 == len(report.rows)
    row = report.rows[-2]
    assert text[-2].split() == [
        row.tensor, row.kind, str(row.group), row.level, row.format, str(row.elements), str(row.bytes),
    ]  # fmt: skip


def test_the_csv_file_holds_the_rows(tmp_path: Path) -> None:
    report = small_report()
    report.to_csv(tmp_path / "report.csv")
    with open(tmp_path / "report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["tensor"] for row in rows] == [row.tensor for row in report.rows]
    assert sum(int(row["bytes"]) for row in rows) == report.bytes
    assert {row["overflow"] for row in rows} == {""}
    assert [path.name for path in tmp_path.iterdir()] == ["report.csv"]


def test_the_picture_stacks_the_bytes_of_every_group(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = small_report()
    figure = report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    (ax,) = figure.axes
    bars = sum(bar.get_height() for bar in ax.patches if hasattr(bar, "get_height"))
    assert bars * 2**20 == pytest.approx(report.bytes)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["input", "0", "4"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "float32", "low: FP(4,3,4), FP(5,2,0)", "high: FP(6,9,0)",
    ]  # fmt: skip


def test_training_reports_overflows_promotions_and_the_average_ratio() -> None:
    net = small()
    x, y = torch.randn(16, 3, 8, 8), torch.randint(10, (16,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    plan = PrecisionPlan.uniform(net, x)
    with plan.apply(net, optimizer, loss_scale=LossScale(64.0, None)) as training:
        before = training.report()
        ratios = []
        for k in range(4):
            net[1].weight.data.fill_(100.0 if k == 1 else 1.0)
            ratios.append(training.low_ratio)
            optimizer.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        after = training.report()
    assert (before.steps, before.mean_low_ratio) == (0, None)
    assert (after.steps, after.skipped) == (4, 0)
    assert after.mean_low_ratio == pytest.approx(sum(ratios) / 4)
    assert ratios[0] == ratios[1] == plan.low_ratio > ratios[2] == ratios[3] == after.low_ratio
    rows = {(row.kind, row.tensor): row for row in after.rows}
    weight, output = rows["parameter", "1.weight"], rows["output", "1:batch_norm:1"]
    assert (weight.level, weight.format, weight.overflow, weight.promotions) == ("promoted", "FP(6,9,0)", 1.0, 1)
    assert output.level == "promoted"
    assert 0.01 < output.overflow < 1.0
    assert rows["output-gradient", "1:batch_norm:1"].level == "low"
    assert after.bytes > before.bytes
    promotions = sum(row.promotions for row in after.rows)
    assert f"4 steps, 0 left out, {100 * after.mean_low_ratio:.1f} % low on average, {promotions} promotions" in str(
        after
    )
    assert "overflow" in str(after)
    assert "overflow" not in str(plan.report())
