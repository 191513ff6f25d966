"""Fits of a layer's responses by a matrix of low rank, in float64 (Zhang et al. 2016, "Accelerating Very Deep
Convolutional Networks for Classification and Detection").

T (n, d): what n samples of a layer's d responses are to be. Y (n, d): what there is to make them of: the same
responses, or those of a network whose earlier layers are approximated already. Both fits find a `Fit`, by which
T ~ Y M' + b with M = P Q of the given rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Of the largest eigenvalue of Y'Y: what is below it is rounding, of float32 responses.
CUTOFF = 1e-10
# (lambda, iterations), one after another, as in the code of He et al. 2017, which includes this method.
SCHEDULE = ((0.1, 30), (1.0, 20))


class Fit(NamedTuple):
    """P (d, rank), Q (rank, d), b (d,)."""

    P: Tensor
    Q: Tensor
    b: Tensor

    def __call__(self, Y: Tensor) -> Tensor:
        return Y @ self.Q.T @ self.P.T + self.b


def energies(covariance: Tensor) -> Tensor:
    """The eigenvalues of a covariance (d, d), the largest first; none is negative."""
    return torch.linalg.eigvalsh(covariance).flip(0).clamp(min=0)


def directions(covariance: Tensor, rank: int) -> Tensor:
    """The eigenvectors (rank, d) of its largest eigenvalues."""
    return torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :rank].T


def error(T: Tensor, made: Tensor, relu: bool) -> float:
    """||r(T) - r(made)||^2, where r is ReLU, or nothing."""
    return float((T.relu() - made.relu() if relu else T - made).square().sum())


def linear(T: Tensor, Y: Tensor, rank: int) -> Fit:
    """The least ||T - Y M' - b||^2: reduced-rank regression.

    With T = Y these are the first principal components, M = U U' of the largest eigenvectors. Otherwise it is what
    the paper has a generalized singular value decomposition for: the full regression C, and of what it says the
    principal components, M = U U' C.
    """
    return _Regression(Y)(T, rank)


def nonlinear(T: Tensor, Y: Tensor, rank: int, schedule: Sequence[tuple[float, int]] = SCHEDULE) -> Fit:
    """A small ||r(T) - r(Y M' + b)||^2, where r is ReLU: the paper's nonlinear case, and its asymmetric one where
    Y is not T.

    Of the relaxed form, ||r(T) - r(Z)||^2 + lambda ||Z - Y M' - b||^2, first Z and then M and b are the best ones, by
    turns, from the linear fit on. Returns the best of all that were met, that fit included.
    """
    regression, wanted = _Regression(Y), T.relu()
    now = best = regression(T, rank)
    guess = now(Y)
    least = error(T, guess, relu=True)
    for weight, iterations in schedule:
        for _ in range(iterations):
            now = regression(relu_minimiser(wanted, guess, weight), rank)
            guess = now(Y)
            found = error(T, guess, relu=True)
            if found < least:
                least, best = found, now
    return best


def relu_minimiser(wanted: Tensor, guess: Tensor, weight: float) -> Tensor:
    """The z of least (wanted - r(z))^2 + weight (z - guess)^2, number by number; wanted is 0 or more."""
    below = guess.clamp(max=0)
    above = ((weight * guess + wanted) / (weight + 1)).clamp(min=0)
    cost_below = wanted.square() + weight * (below - guess).square()
    cost_above = (wanted - above).square() + weight * (above - guess).square()
    return torch.where(cost_below <= cost_above, below, above)


class _Regression:
    """Of any T on one Y, by a matrix of a given rank."""

    def __init__(self, Y: Tensor) -> None:
        self.mean = Y.mean(0)
        self.centred = Y - self.mean
        values, vectors = torch.linalg.eigh(self.centred.T @ self.centred)
        kept = values > CUTOFF * values[-1].clamp(min=torch.finfo(values.dtype).tiny)
        self.inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T

    def __call__(self, T: Tensor, rank: int) -> Fit:
        mean = T.mean(0)
        cross = (T - mean).T @ self.centred
        full = cross @ self.inverse
        _, vectors = torch.linalg.eigh(full @ cross.T)  # of what the full regression says, its covariance
        P = vectors[:, -rank:].flip(1)
        Q = P.T @ full
        return Fit(P, Q, mean - P @ (Q @ self.mean))
