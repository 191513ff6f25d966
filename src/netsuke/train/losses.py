"""What a network is trained to minimise: labels, teachers, or a weighted sum of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, softmax

from netsuke.artifact.contract import Error

KINDS = ("labels", "soft", "diversified")
FORMS = ("intended", "published")


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Soft cross entropy of the student under the teacher's distribution, a scalar, the mean over N:

        L = mean_n( - sum_c softmax(teacher)[n, c] * log_softmax(student)[n, c] )

    student, teacher: logits (N, classes); no temperature; no gradient reaches the teacher. It is the KL divergence up
    to the teacher's own entropy (ReActNet, Liu et al. 2020, section 4.3; BNext, Guo et al. 2022).
    """
    return soft_cross_entropies(student, [teacher])[0].mean()


def soft_cross_entropies(student: Tensor, teachers: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
    """H[i, n] = - sum_c softmax(teacher_i / T)[n, c] * log_softmax(student / T)[n, c], of shape (teachers, N).

    student and each teacher: logits (N, classes). At least float32 inside, whatever the logits are. No factor T^2, and
    no gradient to the teachers.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    log_student = log_softmax(student.to(dtype) / temperature, dim=1)
    targets = torch.stack([softmax(t.detach().to(dtype) / temperature, dim=1) for t in teachers])
    return -(targets * log_student).sum(dim=2)


def diversified_distillation(
    student: Tensor, teachers: Sequence[Tensor], temperature: float = 1.0, form: str = "intended"
) -> Tensor:
    """BNext's diversified consecutive distillation (Guo et al. 2022), a scalar: the worse the student matches a teacher
    on an image, the more that teacher counts there. With H of `soft_cross_entropies`, m teachers, N images:

        alpha[i, n] = exp(H[i, n]) / sum_j exp(H[j, n])                     "gap-sensitive", taken as a constant
        intended      L = T^2 / m * mean_n sum_i alpha[i, n] * H[i, n]
        published     L = T^2 / m * sum_i mean_n(alpha[i, n]) * mean_n(H[i, n])

    BNext has m = 2 (an assistant and the main teacher; `Teachers` runs the weak-to-strong curriculum) and T = 1. Its
    code means H to be per image, but tests the setting against "instance" where the default is "Instance", so each H
    is averaged over the batch before it is weighted: form="published" does the same. There a batch split over processes
    is another loss than the whole batch; the intended form has no such dependence.

    student and each teacher: logits (N, classes). Raises netsuke.Error for another form.
    """
    if form not in FORMS:
        raise Error(f"the form of diversified distillation is {form!r}: use one of {', '.join(FORMS)}")
    gaps = soft_cross_entropies(student, teachers, temperature)
    weights = softmax(gaps.detach(), dim=0)
    if form == "published":
        gaps = gaps.mean(dim=1, keepdim=True)
    return temperature**2 / len(gaps) * (weights * gaps).sum(dim=0).mean()


@dataclass(frozen=True)
class Objective:
    """The training loss. `objective(logits, labels, teachers)` is a scalar, the mean over the batch:

        L = label_weight * CE(logits, labels) + (1 - label_weight) * D(logits, teachers)

    kind: what D is.
        "labels"       no teacher: L = CE, and label_weight is not used
        "soft"         T^2 * mean over teachers of the soft cross entropy at temperature T. The factor T^2 keeps the
                       size of the gradient while T changes (Hinton et al. 2015, section 2)
        "diversified"  `diversified_distillation`, in the form `form`
    label_weight: 0 (teachers alone, as ReActNet and BNext train) up to, not including, 1. label_smoothing: of CE, 0 up
    to, not including, 1. temperature: T > 0, for student and teachers alike.

    Raises netsuke.Error for values outside these.
    """

    kind: str = "labels"
    label_weight: float = 0.0
    label_smoothing: float = 0.0
    temperature: float = 1.0
    form: str = "intended"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise Error(f"the loss is {self.kind!r}: use one of {', '.join(KINDS)}")
        if self.form not in FORMS:
            raise Error(f"the form of diversified distillation is {self.form!r}: use one of {', '.join(FORMS)}")
        for name in ("label_weight", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise Error(f"{name} is {getattr(self, name)}: it must be at least 0 and below 1")
        if not 0 < self.temperature < float("inf"):
            raise Error(f"temperature is {self.temperature}: it must be above 0 and finite")

    @property
    def needs_teachers(self) -> bool:
        return self.kind != "labels"

    def __call__(self, logits: Tensor, labels: Tensor, teachers: Sequence[Tensor] = ()) -> Tensor:
        """logits (N, classes), labels int64 (N,), teachers: the logits (N, classes) of each active teacher.

        Raises netsuke.Error where teachers are missing, or have another shape than the student.
        """
        if not self.needs_teachers:
            return self._label_loss(logits, labels)
        if not teachers:
            raise Error(f"the loss {self.kind!r} needs a teacher, and there is none: name one, or use loss 'labels'")
        for teacher in teachers:
            if teacher.shape != logits.shape:
                raise Error(
                    f"a teacher's logits are {tuple(teacher.shape)}, the student's {tuple(logits.shape)}: "
                    "both must know the same classes"
                )
        loss = self._teacher_loss(logits, teachers)
        if self.label_weight:
            loss = self.label_weight * self._label_loss(logits, labels) + (1 - self.label_weight) * loss
        return loss

    def _label_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return cross_entropy(logits.to(dtype), labels, label_smoothing=self.label_smoothing)

    def _teacher_loss(self, logits: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        if self.kind == "diversified":
            return diversified_distillation(logits, teachers, self.temperature, self.form)
        return self.temperature**2 * soft_cross_entropies(logits, teachers, self.temperature).mean()
