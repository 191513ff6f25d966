"""Binarize a network of your own in a training loop of your own: python examples/binarize_your_own.py [OUT.netsuke]"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import netsuke
from netsuke.nn import progressive

digits = load_digits()  # 8x8 images of handwritten digits, pixels 0 to 16
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
labels = torch.tensor(digits.target)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
train, test = order[:1400], order[1400:]


def network() -> nn.Module:
    def unit(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    body = [*unit(1, 32), *unit(32, 32), nn.MaxPool2d(2), *unit(32, 64), *unit(64, 64)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def fit(model: nn.Module, epochs: int, teacher: nn.Module | None = None) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        progressive(model.train(), epoch / epochs)  # AdaBin's gradients sharpen; a float network has nothing to tell
        for batch in train[torch.randperm(len(train))].split(50):
            target = labels[batch]
            if teacher is not None:
                target = teacher(images[batch]).detach().softmax(1)
            loss = cross_entropy(model(images[batch]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def show(name: str, logits: Tensor) -> None:
    print(f"{name:18} {100 * float((logits.argmax(1) == labels[test]).float().mean()):.1f} %")


torch.manual_seed(0)
model = network()
fit(model, epochs=4)
student = netsuke.binarize(model.eval(), method="adabin", calibration=images[train[:256]])
fit(student, epochs=8, teacher=model)
out = sys.argv[1] if len(sys.argv) > 1 else "digits.netsuke"
netsuke.export(student.eval(), images[:2], out)
engine = netsuke.load(out, threads=1)
show("float", model(images[test]))
show("binary", student(images[test]))
show("binary, from file", torch.from_numpy(engine(images[test].numpy())))
