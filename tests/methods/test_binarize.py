"""`netsuke.binarize`: which layers become binary, how they start, and what stays as it was."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import cifar
import netsuke
from netsuke import Error
from netsuke.lowering import lower
from netsuke.methods import METHODS, BinarizeReport
from netsuke.nn import BinaryConv2d, BinaryLinear, Maxout


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def conv_bn_relu(depth: int = 5) -> nn.Sequential:
    layers = block(3, 16)
    for i in range(depth):
        layers += block(16, 16)
        if i in (1, 3):
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def images(count: int = 16) -> Tensor:
    """Smooth random images: neighbours are alike, as in photographs."""
    return F.interpolate(torch.randn(count, 3, 8, 8), size=(32, 32), mode="bilinear")


def binary_layers(model: nn.Module) -> dict[str, BinaryConv2d | BinaryLinear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, (BinaryConv2d, BinaryLinear))}


def report(model: nn.Module) -> BinarizeReport:
    assert isinstance(model.netsuke_report, BinarizeReport)
    return model.netsuke_report


def shares_of_ones(model: nn.Module, batch: Tensor) -> dict[str, float]:
    """The share of +1 among the bits of each binarized layer's input, recomputed from what flows."""
    shares: dict[str, float] = {}

    def watch(name: str, layer: nn.Module) -> None:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            a = layer.binary_a(args[0])
            shares[name] = (a == a.max()).float().mean().item() if a.max() > a.min() else 1.0

        layer.register_forward_pre_hook(hook)

    model = copy.deepcopy(model).eval()
    for name, layer in binary_layers(model).items():
        watch(name, layer)
    with torch.no_grad():
        model(batch)
    return shares


# ------------------------------------------------------------------------------------------- the promise
def test_no_layer_of_a_conv_bn_relu_network_has_over_95_percent_equal_bits() -> None:
    student = netsuke.binarize(conv_bn_relu(), calibration=images())
    for batch in (images(), images(4)):  # other images than those it was calibrated on
        shares = shares_of_ones(student, batch)
        assert len(shares) == 5
        assert all(0.05 < share < 0.95 for share in shares.values()), shares


def test_without_two_sided_relus_thresholds_alone_keep_layers_alive() -> None:
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = conv_bn_relu()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) if len(x) > 0 else x  # torch.fx cannot follow a branch on the batch

    student = netsuke.binarize(Untraceable(), calibration=images())
    assert not report(student).relus
    assert any("torch.fx" in why for _, why in report(student).relus_kept)
    assert all(0.05 < share < 0.95 for share in shares_of_ones(student, images()).values())


def test_published_resnet20() -> None:
    pixels, _ = cifar.images_and_labels(64)
    batch = cifar.normalised(pixels)
    model = cifar.published("resnet20")
    student = netsuke.binarize(model, calibration=batch)
    assert set(binary_layers(student)) == {
        f"layer{s}.{b}.conv{i}" for s in (1, 2, 3) for b in (0, 1, 2) for i in (1, 2)
    }  # fmt: skip
    assert report(student).relus == [f"layer{s}.{b}.relu1" for s in (1, 2, 3) for b in (0, 1, 2)]
    assert all(0.05 < share < 0.95 for share in shares_of_ones(student, batch).values())
    assert dict(report(student).skipped) == {"conv1": "the first layer", "linear": "the last layer"}


def test_the_report_tells_the_truth() -> None:
    batch = images()
    student = netsuke.binarize(conv_bn_relu(), calibration=batch)
    shares = shares_of_ones(student, batch)
    for layer in report(student).layers:
        assert layer.ones == pytest.approx(shares[layer.name], abs=1e-6)
        assert layer.threshold == pytest.approx(binary_layers(student)[layer.name].binary_a.beta_a.item())
    text = str(report(student))
    assert "5 layers binary, 2 left as they were, 5 ReLUs two-sided, 1 kept" in text
    for name in [*shares, *report(student).relus, "the first layer", "the last layer"]:
        assert name in text


# ------------------------------------------------------------------------------------------- what stays
def test_the_model_is_left_alone_and_parameters_keep_their_names() -> None:
    model = conv_bn_relu().train()
    before = copy.deepcopy(model.state_dict())
    student = netsuke.binarize(model, calibration=images())
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not binary_layers(model)
    theirs = student.state_dict()
    assert all(torch.equal(theirs[name], before[name]) for name in before)
    added = set(theirs) - set(before)
    layers = [*binary_layers(student), *report(student).relus]
    assert all(any(name.startswith(f"{layer}.") for layer in layers) for name in added)
    assert student.training
    assert not netsuke.binarize(model.eval(), calibration=images()).training
    own = {p.data_ptr() for p in model.parameters()}
    assert not own & {p.data_ptr() for p in student.parameters()}


def test_the_student_trains_copies_and_pickles() -> None:
    student = netsuke.binarize(conv_bn_relu(2), calibration=images())
    again = pickle.loads(pickle.dumps(copy.deepcopy(student)))
    loss = F.cross_entropy(again(images(8)), torch.arange(8))
    loss.backward()
    assert all(p.grad is not None for p in again.parameters())


def test_later_layers_start_from_what_earlier_binarized_ones_make() -> None:
    batch = images()
    student = netsuke.binarize(conv_bn_relu(), calibration=batch)
    seen: dict[str, Tensor] = {}
    for name, layer in binary_layers(student).items():
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    with torch.no_grad():
        student.eval()(batch)
    for name, layer in binary_layers(student).items():
        torch.testing.assert_close(layer.binary_a.beta_a, seen[name].mean(), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------- choices
@pytest.mark.parametrize(("keep_first", "keep_last", "count"), [(True, False, 6), (False, True, 6), (False, False, 7)])
def test_first_and_last_on_request(keep_first: bool, keep_last: bool, count: int) -> None:
    student = netsuke.binarize(conv_bn_relu(), calibration=images(), keep_first=keep_first, keep_last=keep_last)
    assert len(binary_layers(student)) == count


def test_first_and_last_are_those_that_run_so() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(16, 4)
            self.middle = nn.Conv2d(16, 16, 3)
            self.stem = nn.Conv2d(3, 16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.middle(self.stem(x)).mean((2, 3)))

    assert set(binary_layers(netsuke.binarize(Backwards(), calibration=images()))) == {"middle"}


def test_skip_by_name_by_block_and_by_function() -> None:
    model = nn.Sequential(conv_bn_relu(2)[:-3], nn.Sequential(*block(16, 16), *block(16, 16)), nn.Conv2d(16, 4, 1))
    every = set(binary_layers(netsuke.binarize(model, calibration=images())))
    assert every == {"0.3", "0.6", "1.0", "1.3"}
    assert set(binary_layers(netsuke.binarize(model, calibration=images(), skip=["0.3"]))) == every - {"0.3"}
    assert set(binary_layers(netsuke.binarize(model, calibration=images(), skip="1"))) == {"0.3", "0.6"}
    student = netsuke.binarize(model, calibration=images(), skip=lambda name, layer: name.endswith("3"))
    assert set(binary_layers(student)) == {"0.6", "1.0"}
    assert ("0.3", "told to skip it") in report(student).skipped


class Zoo(nn.Module):
    """One layer for every reason to leave a layer as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.good = nn.Conv2d(16, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.tiny = nn.Conv2d(16, 16, 1, groups=4)
        self.shortcut = nn.Conv2d(16, 16, 1, 2)
        self.mirrored = nn.Conv2d(16, 16, 3, 2, 1, padding_mode="reflect")
        self.transposed = nn.ConvTranspose2d(16, 16, 3, padding=1)
        self.shared = nn.Conv2d(16, 16, 3, padding=1)
        self.unused = nn.Linear(16, 16)
        self.binary = BinaryConv2d(16, 16, 3, padding=1)
        self.weighted = nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tiny(self.depthwise(self.good(self.stem(x))))
        x = self.transposed(self.shortcut(x) + self.mirrored(x))
        x = self.weighted(self.binary(self.shared(self.shared(x))))
        return self.head(x.mean((2, 3)))


def test_layers_that_stay_and_why() -> None:
    student = netsuke.binarize(Zoo(), calibration=images())
    assert [layer.name for layer in report(student).layers] == ["good"]
    reasons = dict(report(student).skipped)
    expected = {
        "stem": "first",
        "depthwise": "depthwise",
        "tiny": "4 weights",
        "shortcut": "1x1 shortcut",
        "mirrored": "reflect",
        "transposed": "ConvTranspose2d",
        "shared": "runs 2 times",
        "unused": "never runs",
        "binary": "already binary",
        "weighted": "Parametrized",
        "head": "last",
    }
    assert set(reasons) == set(expected)
    for name, pattern in expected.items():
        assert pattern in reasons[name]


# ------------------------------------------------------------------------------------------- ReLUs
class Functional(nn.Module):
    """Functional ReLUs, one module used at two places, a ReLU that also feeds an addition, unused parts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.a, self.b, self.c, self.d = (nn.Conv2d(16, 16, 3, padding=1) for _ in range(4))
        self.relu = nn.ReLU()
        self.fc = nn.Linear(16 * 16, 32)
        self.head = nn.Linear(32, 4)
        self.unused = nn.Linear(2, 2)
        self.loose = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 2)
        x = self.relu(self.a(x))
        x = self.relu(self.b(x))
        y = torch.relu(self.c(x))
        x = self.d(y) + y
        x = F.adaptive_avg_pool2d(x.relu(), 4)
        return self.head(F.relu(self.fc(x.view(x.size(0), -1)), inplace=True))


def test_functional_and_shared_relus_are_rewritten() -> None:
    model = Functional()
    student = netsuke.binarize(model, calibration=images())
    assert report(student).relus == ["maxout1", "relu_maxout1", "relu_maxout2", "maxout2"]
    assert [why for _, why in report(student).relus_kept] == ["it also feeds an addition", "it also feeds head"]
    assert sum(isinstance(m, Maxout) for m in student.modules()) == 4
    assert set(model.state_dict()) <= set(student.state_dict())
    assert all(0.05 < share < 0.95 for share in shares_of_ones(student, images()).values())
    lower(student, images(1))


def test_a_rewritten_student_computes_the_model_with_two_slopes_of_a_relu() -> None:
    """With pos_scale 1 and neg_scale 0 a Maxout is the ReLU: rewriting changed nothing else."""
    model = Functional().eval()
    student = netsuke.binarize(model, calibration=images(), skip=["b", "c", "d", "fc"])
    with torch.no_grad():
        for m in student.modules():
            if isinstance(m, Maxout):
                m.neg_scale.zero_()
    student.a, batch = model.a, images(2)
    torch.testing.assert_close(student(batch), model(batch))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 4, 1)


def test_functional_dropout_that_follows_training_becomes_a_module() -> None:
    class Dropped(Noisy):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(F.dropout(F.relu(self.stem(x)), 0.25, self.training)))

    model = Dropped().eval()
    student = netsuke.binarize(model, calibration=images())
    assert report(student).relus == ["maxout1"]
    (dropout,) = (m for m in student.modules() if isinstance(m, nn.Dropout))
    assert (dropout.p, dropout.training) == (0.25, False)
    batch = images(1)
    assert torch.equal(student(batch), student(batch))
    student.train()
    assert not torch.equal(student(batch), student(batch))
    lower(student, batch)


def test_a_forward_that_depends_on_training_is_not_rewritten() -> None:
    class Branched(Noisy):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.stem(x)) * (2 if self.training else 1)
            return self.head(self.conv(F.relu(x)))

    student = netsuke.binarize(Branched(), calibration=images())
    assert isinstance(student, Branched)
    assert not report(student).relus
    assert any("training mode" in why for _, why in report(student).relus_kept)
    assert set(binary_layers(student)) == {"conv"}


def test_an_in_place_relu_on_a_value_used_elsewhere_stays() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 4, 1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.stem(x)
            return self.head(self.conv(self.relu(y)) + y)

    student = netsuke.binarize(InPlace(), calibration=images())
    assert "in place" in report(student).relus_kept[0][1]


# ------------------------------------------------------------------------------------------- errors
def refused(pattern: str, *args: object, **kwargs: object) -> None:
    with pytest.raises(Error, match=pattern) as caught:
        netsuke.binarize(*args, **kwargs)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) <= 2


def test_errors() -> None:
    model = conv_bn_relu()
    refused("adabin", model, method="adabinn", calibration=images())
    refused("calibration", model)
    refused("calibration", model, calibration=torch.zeros(0, 3, 8, 8))
    refused("calibration", model, calibration="images")
    refused("fails on the calibration batch", model, calibration=torch.zeros(1, 5, 8, 8))
    refused("finite", model, calibration=torch.full((1, 3, 32, 32), float("nan")))
    refused("calibration=images", model, images())
    refused("must be a torch Tensor", model, calibration=images().numpy())
    refused("must be a torch Tensor", model, calibration=[images()])
    assert report(netsuke.binarize(model, "AdaBin", images())).method == "adabin"
    wrapped = netsuke.binarize(nn.DataParallel(model), calibration=images())
    assert set(binary_layers(wrapped)) == set(binary_layers(netsuke.binarize(model, calibration=images())))
    refused("torch.nn.Module", len, calibration=images())
    refused("Close to it: ", model, calibration=images(), skip=["33"])
    refused("nothing in Sequential can be binarized", nn.Sequential(nn.Conv2d(3, 3, 3)), calibration=images())
    refused(
        "nothing in Conv2d can be binarized",
        nn.Conv2d(3, 3, 3),
        calibration=images(),
        keep_first=False,
        keep_last=False,
    )
    refused("it has no layers", nn.ReLU(), calibration=images())


def test_the_registry_of_methods() -> None:
    assert METHODS["adabin"].name == "adabin"
    assert "AdaBin" in METHODS["adabin"].paper


def test_a_convolution_that_repeats_the_edge_goes_on_to() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, padding_mode="replicate"),
        nn.Flatten(), nn.Linear(16 * 64, 4),
    )  # fmt: skip
    student = netsuke.binarize(model, calibration=torch.randn(8, 3, 8, 8))
    assert isinstance(student[2], BinaryConv2d)
    assert student[2].padding_mode == "replicate"
