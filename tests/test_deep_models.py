"""The networks: sizes that published tables pin, shapes, width, and training that works."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lpnum_optim.deep import models  # noqa: E402

IMAGES = sorted(models.MODELS)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


# Millions of parameters with 100 classes as the precision-assignment paper's models have them, and the ResNets of He et
# al. 2016 (table 6: 0.27 and 0.46 million with 10 classes; here shortcuts are convolutions).
@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [("squeezenet", 100, 0.78), ("shufflenet_v2", 100, 1.36), ("mobilenet_v2", 100, 2.41), ("resnet18", 100, 11.22),
     ("resnet14", 10, 0.18), ("resnet20", 10, 0.27), ("resnet32", 10, 0.47)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, classes, millions):
    with torch.device("meta"):
        assert round(parameters(models.MODELS[name](classes)) / 1e6, 2) == millions


@pytest.mark.parametrize("name", IMAGES)
def test_images_become_logits_at_any_width(name):
    for width in (0.1, 0.25):
        network = models.MODELS[name](7, width)
        assert network(torch.rand(3, 3, 32, 32)).shape == (3, 7)


@pytest.mark.parametrize("name", IMAGES)
def test_every_parameter_takes_part(name):
    torch.manual_seed(0)
    network = models.MODELS[name](4, 0.1)
    torch.nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all()


def test_a_smaller_width_has_fewer_parameters():
    with torch.device("meta"):
        for name in IMAGES:
            sizes = [parameters(models.MODELS[name](10, width)) for width in (0.1, 0.25, 0.5, 1.0)]
            assert sizes == sorted(set(sizes)), name


def test_a_character_is_predicted_from_those_before_it_only():
    torch.manual_seed(0)
    network = models.CharLSTM(characters=11, hidden=16)
    text = torch.randint(11, (2, 12))
    whole = network(text)
    assert whole.shape == (2, 12, 11)
    # A prefix does not know what follows it.
    torch.testing.assert_close(network(text[:, :5]), whole[:, :5])


def test_the_character_model_has_two_layers_of_the_given_width():
    network = models.CharLSTM(characters=65)
    # Per layer 4 * 128 * (128 + 128 + 2); embedding and classifier of 65 characters.
    assert parameters(network) == 2 * 4 * 128 * 258 + 65 * 128 + 65 * 129
