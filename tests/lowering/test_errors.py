"""What cannot be exported is refused with an error that names the operator and the line of the user's module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netsuke
from netsuke import Error, Preprocess
from netsuke.lowering import lower
from netsuke.lowering.build import HANDLERS
from netsuke.nn import BinaryConv2d, BinaryLinear

IMAGES = torch.randn(2, 4, 6, 6)


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], object], parts: list[nn.Module] | None = None) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts or [])

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def message(module: nn.Module, images: Tensor = IMAGES) -> str:
    with pytest.raises(Error) as caught:
        lower(module, images)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


class Softmaxed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return x.softmax(1) * 2  # the line to be named


def test_an_unknown_operator_is_named_with_its_line() -> None:
    text = message(nn.Sequential(nn.Conv2d(4, 4, 1), Softmaxed()))
    number = 1 + next(i for i, line in enumerate(Path(__file__).read_text().splitlines()) if "the line to be" in line)
    assert "'softmax.int'" in text
    assert f"test_errors.py:{number}" in text
    assert "x.softmax(1) * 2" in text


REFUSED: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "tanh": (torch.tanh, "tanh"),
    "product along columns": (lambda x: x * x.mean(3, keepdim=True), "make them equal, or one"),
    "quotient": (lambda x: 1 / (x + 3), "reciprocal|div"),
    "matrix product": (lambda x: x @ x, "matmul"),
    "offset slice": (lambda x: x[:, :, 1::2], "slices"),
    "shortened slice": (lambda x: x[:, :, :4:2], "slices"),
    "no channels": (lambda x: x[:, 2:2], "no channels"),
    "selected rows": (lambda x: x.index_select(2, torch.tensor([0, 2])), "channels alone"),
    "maximum of numbers": (lambda x: torch.maximum(x, -x), "two maps of signs"),
    "permutation": (lambda x: x.permute(0, 2, 3, 1), "permute"),
    "mean over channels": (lambda x: x.mean(1), "height and width"),
    "uneven adaptive pool": (lambda x: F.adaptive_avg_pool2d(x, 4), "divide evenly"),
    "dilated pool": (lambda x: F.max_pool2d(x, 2, dilation=2), "dilated"),
    "ceil mode over counted padding": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), "ceil_mode"),
    "padding with ones": (lambda x: F.pad(x, (1, 1), value=1.0), "zeros"),
    "reflection": (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "zeros"),
    "crop by padding": (lambda x: F.pad(x, (-1, 0)), "negative"),
    "padding before max pool": (lambda x: F.max_pool2d(F.pad(x, (1, 1)), 2), "padded"),
    "padding before relu": (lambda x: F.relu(F.pad(x, (1, 1))), "padded"),
    "padding returned": (lambda x: F.pad(x, (1, 1)), "padded"),
    "constant map": (lambda x: x + torch.ones(6, 6), "one number a channel"),
    "constant per pixel": (lambda x: x * torch.arange(6.0), "one number a channel"),
    "batch folded in": (lambda x: x.reshape(-1, 36), "between images"),
    "concatenated rows": (lambda x: torch.cat([x, x], 2), "channels"),
    "unequal addition": (lambda x: x + x.mean((2, 3), keepdim=True), "adds maps"),
    "three dimensions": (lambda x: x.flatten(2), r"\(N, 4, 36\)"),
    "a constant": (lambda x: torch.ones(3), "does not depend"),
    "whole numbers": (lambda x: x.long(), "whole numbers|int64|to"),
    "weights from the input": (lambda x: F.linear(x.flatten(1), F.relu(x).flatten(1)), "its weight depends"),
    "divided by the batch size": (lambda x: x / x.size(0), "'div.Tensor'.*batch size"),
    "times the batch size": (lambda x: x * x.shape[0], "'mul.Tensor'.*batch size"),
    "divided by all elements": (lambda x: x * (16 / x.numel()), "batch size"),
    "less the batch size": (lambda x: x - x.shape[0], "batch size"),
    "clamped by a map": (lambda x: torch.clamp(x, max=F.relu(x)), "'clamp.Tensor'.*depends on the input"),
    "slopes from the input": (lambda x: F.prelu(x, x.mean((2, 3))[0]), "not supported"),
    "more than four images": (lambda x: x if x.shape[0] > 4 else -x, "depends on the batch size"),
    "an even batch": (lambda x: x if x.shape[0] % 2 == 0 else -x, "depends on the batch size"),
    "a batch of eight": (lambda x: x if x.shape[0] == 8 else -x, "depends on the batch size"),
    "more than one image": (lambda x: x if x.shape[0] > 1 else 2 * x, "depends on the batch size"),
    "random numbers": (lambda x: x + torch.rand(1), "random numbers"),
    "dropout that is always on": (lambda x: F.dropout(x, 0.5), "random numbers"),
    "mean of everything": (lambda x: x.mean(), r"x.mean\(\(2, 3\)\)"),
    "a fixed batch": (lambda x: x.reshape(len(x), -1), "fixes the batch size"),
    "a branch on values": (lambda x: x if x.sum() > 0 else -x, "depends on the values in a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, pattern = REFUSED[name]
    with pytest.raises(Error, match=pattern) as caught:
        lower(Apply(function), IMAGES)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_branch_on_values_prints_nothing_of_torch(capfd: pytest.CaptureFixture[str]) -> None:
    message(Apply(lambda x: x if x.sum() > 0 else -x))
    assert capfd.readouterr() == ("", "")


def test_the_layer_is_named_and_no_line_of_netsuke_itself() -> None:
    inner = nn.Sequential(nn.ZeroPad2d(1), BinaryConv2d(4, 4, 3))
    text = message(nn.Sequential(nn.Conv2d(4, 4, 1), inner))
    assert "'binary_conv2d' of layer '1.1'" in text
    assert "netsuke/" not in text


def test_operands_that_no_handler_foresaw_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise TypeError("two\nlines")

    monkeypatch.setitem(HANDLERS, "aten.relu.default", broken)
    text = message(Apply(F.relu))
    assert "'relu'" in text
    assert "(two)" in text
    assert "test_errors.py" in text


def test_norm_over_what_are_not_the_channels() -> None:
    class Regrouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x.reshape(-1, 8, 18)).reshape(-1, 4, 6, 6)

    assert "one number a channel" in message(Regrouped())


def test_padding_before_a_binarizer() -> None:
    """Zeros that are binarized are no padding of the binary convolution."""
    assert "padded" in message(nn.Sequential(nn.ZeroPad2d(1), BinaryConv2d(4, 4, 3)))


def test_binary_layer_with_another_padding_mode() -> None:
    text = message(nn.Sequential(nn.Conv2d(4, 4, 1), BinaryConv2d(4, 4, 3, padding=1, padding_mode="reflect")))
    assert "'1'" in text
    assert "reflect" in text


@pytest.mark.parametrize("layer", [BinaryConv2d(4, 4, 6), BinaryLinear(144, 4)])
def test_alpha_a_of_zero(layer: BinaryConv2d | BinaryLinear) -> None:
    with torch.no_grad():
        layer.binary_a.alpha_a.zero_()
    text = message(nn.Sequential(nn.Flatten() if isinstance(layer, nn.Linear) else nn.Identity(), layer))
    assert "'1'" in text
    assert "alpha_a" in text


def test_weights_that_are_not_finite() -> None:
    for module in (nn.Conv2d(4, 4, 1), BinaryConv2d(4, 4, 1)):
        with torch.no_grad():
            module.weight[0] = float("nan")
        assert "not finite" in message(nn.Sequential(module))


def test_two_inputs() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    assert "fails on an input" in message(Two())


@pytest.mark.parametrize("example", [torch.randn(4, 6, 6), torch.zeros(0, 4, 6, 6), [1, 2], None])
def test_example_that_is_no_batch(example: object) -> None:
    assert "(N, C, H, W)" in message(nn.Conv2d(4, 4, 1), example)  # type: ignore[arg-type]


def test_example_of_the_wrong_shape() -> None:
    assert "(2, 4, 6, 6)" in message(nn.Conv2d(3, 4, 1))


def test_no_module() -> None:
    with pytest.raises(Error, match="torch.nn.Module"):
        lower(len, IMAGES)  # type: ignore[arg-type]


def test_a_module_that_cannot_be_copied() -> None:
    class Stubborn(nn.Conv2d):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise RuntimeError("not me")

    assert "cannot be copied" in message(Stubborn(4, 4, 1))


def test_preprocess_of_the_wrong_kind(tmp_path: Path) -> None:
    for preprocess, pattern in ((Preprocess((0.5,), (0.5,)), "1 channels"), ({"mean": 1}, "netsuke.Preprocess")):
        with pytest.raises(Error, match=pattern):
            netsuke.export(nn.Conv2d(4, 4, 1), IMAGES, tmp_path / "a.netsuke", preprocess=preprocess)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, IMAGES, 3])
def test_a_path_that_is_none(path: object) -> None:
    with pytest.raises(Error, match="path is where"):
        netsuke.export(nn.Conv2d(4, 4, 1), IMAGES, path)  # type: ignore[arg-type]


def test_path_and_example_in_the_wrong_order() -> None:
    with pytest.raises(Error, match=r"export\(module, example_input, path\)"):
        netsuke.export(nn.Conv2d(4, 4, 1), "a.netsuke", IMAGES)  # type: ignore[arg-type]


def test_a_rewritten_student_keeps_the_lines_of_its_forward() -> None:
    class Rewritten(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body, self.head = nn.Conv2d(4, 16, 1), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(F.relu(self.stem(x)))
            return self.head(x.tanh())  # named too

    student = netsuke.binarize(Rewritten(), calibration=IMAGES)
    assert student.netsuke_report.relus
    text = message(student)
    assert "test_errors.py" in text
    assert "self.head(x.tanh())" in text


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(Error, match="missing"):
        netsuke.export(nn.Conv2d(4, 4, 1), IMAGES, tmp_path / "missing" / "a.netsuke")


@pytest.mark.parametrize("model", ["", None, "x" * 201, 'quote"'])
def test_model_names_that_the_file_cannot_hold(tmp_path: Path, model: object) -> None:
    with pytest.raises(Error):
        netsuke.export(nn.Conv2d(4, 4, 1), IMAGES, tmp_path / "a.netsuke", model=model)  # type: ignore[arg-type]
