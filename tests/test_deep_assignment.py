"""Which tensors of the paper's networks are low: groups, ratios, megabytes as its authors' bookkeeping gives them."""

from __future__ import annotations

from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="lpnum_optim.deep is for PyTorch")

import lpnum  # noqa: E402
from lpnum_optim.deep import OCP, PAPER, PrecisionPlan  # noqa: E402
from lpnum_optim.deep.candidates import KINDS, Candidates  # noqa: E402
from lpnum_optim.deep.models import MODELS  # noqa: E402

# groups, float32 MB, 16-bit MB, % of v and dv, % low of the operator-based plan, without exempt ends, its factor
# against float32, % low of demotion with r = 1, its factor against float32 and against the operator-based plan.
TABLE = {
    "squeezenet": (27, 1362, 681, 99.6, 17.3, 21.3, 2.19, 99.8, 3.99, 1.82),
    "shufflenet_v2": (58, 1988, 994, 99.5, 26.9, 27.6, 2.31, 99.7, 3.99, 1.73),
    "mobilenet_v2": (59, 5011, 2505, 99.6, 32.8, 33.1, 2.39, 99.8, 3.99, 1.67),
    "resnet18": (22, 2073, 1037, 95.9, 27.9, 29.5, 2.32, 97.9, 3.92, 1.69),
}
# Reached % and demoted groups at r = .1, .2, ... .9.
REACHED = {
    "squeezenet": ((22.9, 1), (22.9, 1), (38.2, 2), (45.8, 3), (52.9, 4), (65.2, 6), (70.5, 7), (81.1, 10), (91.1, 15)),
    "shufflenet_v2": ((13.9, 2), (24.1, 4), (32.1, 6), (40.8, 9), (51.1, 13), (60.5, 17), (70.3, 22), (80.8, 30),
                      (90.5, 40)),
    "mobilenet_v2": ((17.2, 2), (25.9, 3), (31.6, 4), (40.2, 6), (51.7, 10), (60.4, 14), (70.4, 19), (80.5, 26),
                     (90.7, 35)),
    "resnet18": ((12.4, 1), (24.7, 2), (34.0, 3), (43.3, 4), (52.5, 5), (65.0, 7), (74.3, 9), (80.8, 11), (90.7, 15)),
}  # fmt: skip
PARAMETERS = {"squeezenet": 0.78, "shufflenet_v2": 1.36, "mobilenet_v2": 2.41, "resnet18": 11.2}  # millions
MB = 2**20


trace = cache(PrecisionPlan._traced)


@pytest.fixture(autouse=True)
def _each_network_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrecisionPlan, "_traced", staticmethod(trace))


@cache
def network(name: str):
    with torch.device("meta"):
        return MODELS[name](100)


@cache
def batch():
    return torch.empty(128, 3, 32, 32, device="meta")


def plan(name: str, ratio: float, **options) -> PrecisionPlan:
    return PrecisionPlan.demote(network(name), batch(), ratio, **options)


def groups(plan: PrecisionPlan, low: bool) -> set[int]:
    return {tensor.group for tensor, is_low in zip(plan.tensors, plan.low, strict=True) if is_low >= low}


def bits(plan: PrecisionPlan) -> int:
    c = plan.candidates
    return sum(t.size * (c.low if low else c.high)[t.kind].bits for t, low in zip(plan.tensors, plan.low, strict=True))


@pytest.mark.parametrize("name", TABLE)
def test_groups_megabytes_and_baselines_of_the_papers_networks_are_those_of_its_authors_bookkeeping(name: str) -> None:
    n_groups, mb32, mb16, activations, operator_low, without_ends, operator_factor, low, factor, against = TABLE[name]
    model = network(name)
    ours = plan(name, 1.0)
    elements = sum(t.size for t in ours.tensors)
    assert len(groups(ours, low=False)) == len(groups(ours, low=True)) == n_groups
    assert round(4 * elements / MB) == mb32
    assert round(bits(PrecisionPlan.uniform(model, batch(), "high")) / 8 / MB) == mb16
    share = sum(t.size for t in ours.tensors if t.kind.startswith("output")) / elements
    assert round(100 * share, 1) == activations
    assert round(100 * ours.low_ratio, 1) == low
    assert round(32 * elements / bits(ours), 2) == factor
    baseline = PrecisionPlan.operator_based(model, batch())
    assert round(100 * baseline.low_ratio, 1) == operator_low
    assert round(32 * elements / bits(baseline), 2) == operator_factor
    assert round(bits(baseline) / bits(ours), 2) == against
    everywhere = PrecisionPlan.operator_based(model, batch(), exempt_ends=False)
    assert round(100 * everywhere.low_ratio, 1) == without_ends
    sizes = {t.name: t.size for t in ours.tensors if t.kind == "parameter"}
    assert sum(sizes.values()) == sum(p.numel() for p in model.parameters())
    assert sum(sizes.values()) / 1e6 == pytest.approx(PARAMETERS[name], rel=0.005)


@pytest.mark.parametrize("name", TABLE)
def test_demotion_by_size_reaches_the_ratios_of_the_authors_bookkeeping(name: str) -> None:
    found = [plan(name, r / 10) for r in range(1, 10)]
    assert [(round(100 * p.low_ratio, 1), len(groups(p, low=True))) for p in found] == list(REACHED[name])


def test_ratio_zero_demotes_nothing_and_ratio_one_everything() -> None:
    assert not any(plan("resnet18", 0.0).low)
    assert all(plan("resnet18", 1.0).low)


@pytest.mark.parametrize("order", ["size", "size-increasing", "random"])
def test_every_order_stops_at_the_first_group_that_reaches_the_ratio(order: str) -> None:
    for ratio in (0.3, 0.7):
        found = plan("resnet18", ratio, order=order, seed=3)
        smallest = min(groups(found, True), key=lambda g: sum(t.size for t in found.tensors if t.group == g))
        without = found.low_ratio - sum(t.size for t in found.tensors if t.group == smallest) / sum(
            t.size for t in found.tensors
        )
        assert without < found.low_ratio
        assert found.low_ratio >= ratio
        if order == "size":
            assert without < ratio


def test_demotion_by_decreasing_size_needs_the_fewest_groups() -> None:
    counts = {
        order: len(groups(plan("resnet18", 0.5, order=order), True)) for order in ("size", "random", "size-increasing")
    }
    assert counts["size"] < counts["random"] < counts["size-increasing"]


def test_a_random_order_is_a_function_of_the_seed() -> None:
    levels = [plan("resnet18", 0.5, order="random", seed=seed).low for seed in (123, 123, 456)]
    assert levels[0] == levels[1] != levels[2]


def test_a_group_changes_its_level_as_a_whole() -> None:
    found = plan("mobilenet_v2", 0.5)
    assert not groups(found, True) & {t.group for t, low in zip(found.tensors, found.low, strict=True) if not low}


def test_formats_are_those_of_the_paper_unless_others_are_named() -> None:
    paper = plan("resnet18", 0.9).candidates
    bits_of = {kind: (paper.low[kind].bits, paper.high[kind].bits) for kind in KINDS}
    assert bits_of == {
        "parameter": (8, 16),
        "output": (8, 16),
        "parameter-gradient": (16, 16),
        "output-gradient": (8, 16),
    }
    assert (paper.low["output"].max, paper.low["output"].smallest_subnormal) == (30.0, 2.0**-13)
    assert (paper.low["output-gradient"].max, paper.low["output-gradient"].smallest_subnormal) == (114688.0, 2.0**-16)
    assert (paper.high["output"].max, paper.high["output"].smallest_subnormal) == (2.0**32 * (2 - 2.0**-9), 2.0**-39)
    assert paper.rounding == "nearest-away"
    ocp = plan("resnet18", 0.9, **OCP).candidates
    assert ocp.low["output-gradient"] is lpnum.format("float8_e5m2")
    assert ocp.high["output"] is lpnum.format("bfloat16")
    one = plan("resnet18", 0.9, low="float8_e4m3fn", high="float16").candidates
    assert set(one.low.values()) == {lpnum.float8_e4m3fn}
    assert set(one.high.values()) == {lpnum.float16}


def test_where_gradients_of_parameters_may_be_low_the_whole_network_can_be() -> None:
    assert plan("resnet18", 1.0, low="float8_e4m3fn", high="bfloat16").low_ratio == 1.0


def test_wrong_formats_ratios_and_orders_are_refused_by_name() -> None:
    for options, message in (
        ({"ratio": 1.5}, "ratio = 1.5; expected 0 .. 1"),
        ({"ratio": float("nan")}, "ratio = nan"),
        ({"order": "colour"}, "order = 'colour'; expected one of 'size', 'error-per-byte'"),
        ({"low": "bfloat16", "high": "float8_e4m3fn"}, "parameter: low = bfloat16 has 16 bits and high"),
        (
            {"low": {"output": "float8_e5m2"}},
            "low: formats for 'output'; expected one for each of 'parameter', 'output'",
        ),
        ({"low": "ufixed8"}, "ufixed8 has no negative values"),
        ({"low": "float8_e8m0fnu"}, "float8_e8m0fnu has no negative values"),
        ({"rounding": "stochastic"}, "rounding = 'stochastic'; expected one of 'nearest-even'"),
    ):
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            plan("resnet18", **{"ratio": 0.9, **options})
    with pytest.raises(TypeError, match="no format of single elements"):
        plan("resnet18", 0.9, low=lpnum.mxfp8_e4m3, high="bfloat16")
    with pytest.raises(ValueError, match="level = 'middle'"):
        PrecisionPlan.uniform(network("resnet18"), batch(), "middle")


def test_presets_are_complete() -> None:
    for preset in (PAPER, OCP):
        found = Candidates.of(**preset)
        assert set(found.low) == set(found.high) == set(KINDS)
        assert found.saves("output") == 8
        assert found.saves("parameter-gradient") == 0
