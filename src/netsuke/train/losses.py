"""Losses that use a teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax, softmax


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Soft cross entropy of the student under the teacher's distribution, a scalar, the mean over N:

        L = mean_n( - sum_c softmax(teacher)[n, c] * log_softmax(student)[n, c] )

    student, teacher: logits (N, classes); no temperature; no gradient reaches the teacher. It is the KL divergence up
    to the teacher's own entropy (ReActNet, Liu et al. 2020, section 4.3; BNext, Guo et al. 2022).
    """
    return -(softmax(teacher.detach(), dim=1) * log_softmax(student, dim=1)).sum(dim=1).mean()
