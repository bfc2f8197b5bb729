"""Attention with functional (sinusoidal, clipped) relative positions, without a table of length x length vectors."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F


def relative_positions(
    length: int, head_size: int, furthest: int, dtype: torch.dtype, device: torch.device
) -> "UnclippedPositions | ClippedPositions | GatheredPositions":
    """The relative positions of a row, in the form that is cheapest for its length; the latest few are kept.

    length: tokens of a row, any number. head_size: features of a head, even. furthest: the distance at which positions
    are clipped. dtype, device: of the queries.
    Token i sees token j at p(j - i), where p(d) is row min(max(d, -furthest), furthest) + furthest of the sinusoids of
    Vaswani et al. 2017 (section 3.5).
    Returns positions whose `scores` and `values` are the two terms that they add to attention.
    Source: Wei et al. 2019 (NEZHA), section 3.1.
    """
    if torch.compiler.is_exporting():
        # A graph serves rows of every length, so their number may decide nothing, and is no number yet to be kept by.
        return GatheredPositions(length, head_size, furthest, dtype, device)
    return kept_positions(length, head_size, furthest, dtype, device)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def kept_positions(
    length: int, head_size: int, furthest: int, dtype: torch.dtype, device: torch.device
) -> "UnclippedPositions | ClippedPositions":
    """As `relative_positions`, outside of exported graphs."""
    # Nothing is clipped in a row of furthest + 1 tokens.
    form = UnclippedPositions if length <= furthest + 1 else ClippedPositions
    return form(length, head_size, furthest, dtype, device)


class UnclippedPositions:
    """Relative positions of a row so short that none of them is clipped: two matrix products of the usual size.

    Sine and cosine of a difference are products of sines and cosines: p(j - i) is p(j) turned, feature pair by feature
    pair, by an angle that depends on i alone. So a query turned back by its angle meets the positions of the keys, the
    weighted mean of positions is turned once, and, since both terms are inner products with vectors of j, one fused
    attention of twice the head size computes all.

    Arguments as in `relative_positions`.
    """

    def __init__(self, length: int, head_size: int, furthest: int, dtype: torch.dtype, device: torch.device) -> None:
        angles = _angles(torch.arange(length), head_size)
        turn = _angles(torch.arange(length) - furthest, head_size)
        self.keys = _sinusoids(angles).to(device, dtype)
        # A feature pair (sine, cosine) is read as the complex number sine + i cosine.
        whole = torch.complex128 if dtype == torch.float64 else torch.complex64
        self.turn = torch.polar(torch.ones_like(turn), turn).to(device, whole)

    def scores(self, query: Tensor) -> Tensor:
        """query (batch, heads, length, head_size). Returns query_i . p(j - i), (batch, heads, length, length)."""
        return self._queries(query) @ self.keys.T

    def values(self, weights: Tensor) -> Tensor:
        """weights (batch, heads, length, length). Returns the weighted sum of p(j - i) over j, shaped as queries."""
        return _times(weights @ self.keys, self.turn)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        """The whole attention in torch's fused kernel.

        query, key, value (batch, heads, length, head_size); mask as in torch's; dropout of the attention weights.
        Returns (batch, heads, length, head_size).
        """
        positions = self.keys.expand_as(key)
        context = F.scaled_dot_product_attention(
            torch.cat([query, self._queries(query)], dim=-1),
            torch.cat([key, positions], dim=-1),
            torch.cat([value, positions], dim=-1),
            attn_mask=mask,
            dropout_p=dropout,
            scale=1 / math.sqrt(query.shape[-1]),
        )
        content, position = context.chunk(2, dim=-1)
        return content + _times(position, self.turn)

    def _queries(self, query: Tensor) -> Tensor:
        return _times(query, self.turn.conj())


class ClippedPositions:
    """Relative positions of a long row: everything that depends on a distance is computed once a distance.

    A query meets 2 * furthest + 1 different positions, whose scores are then dealt out to the keys; and the weights of
    the keys are summed by distance before they meet the positions.

    Arguments as in `relative_positions`.
    """

    def __init__(self, length: int, head_size: int, furthest: int, dtype: torch.dtype, device: torch.device) -> None:
        self.furthest = furthest
        self.table = _sinusoids(_angles(torch.arange(2 * furthest + 1), head_size)).to(device, dtype)
        place = torch.arange(length, device=device)
        # (length, length): which distance a query and a key have.
        self.distance = (place - place[:, None]).clamp(-furthest, furthest) + furthest

    def scores(self, query: Tensor) -> Tensor:
        """As `UnclippedPositions.scores`."""
        return _Deal.apply(query @ self.table.T, self)

    def values(self, weights: Tensor) -> Tensor:
        """As `UnclippedPositions.values`."""
        return _Collect.apply(weights, self) @ self.table

    def deal(self, by_distance: Tensor) -> Tensor:
        """(..., length, distances) to (..., length, length): every key gets the value of its distance."""
        return by_distance.gather(-1, self.distance.expand(*by_distance.shape[:-2], -1, -1))

    def collect(self, by_key: Tensor) -> Tensor:
        """(..., length, length) to (..., length, distances): values of the keys at one distance, summed."""
        reach, length = self.furthest, by_key.shape[-1]
        padded = F.pad(by_key, (reach - 1, reach - 1)).contiguous()
        # Read with rows that are one longer than they are, each begins a key further right than the one above.
        steps = (*padded.stride()[:-2], padded.shape[-1] + 1, 1)
        near = padded.as_strided((*padded.shape[:-1], 2 * reach - 1), steps)
        left = F.pad(by_key[..., reach:, : length - reach].tril().sum(-1), (reach, 0))[..., None]
        right = F.pad(by_key[..., : length - reach, reach:].triu().sum(-1), (0, reach))[..., None]
        return torch.cat([left, near, right], dim=-1)


class GatheredPositions:
    """Relative positions of a row of any length in the fewest kinds of operation, for graphs: a vector for every pair.

    Arguments as in `relative_positions`.
    """

    def __init__(self, length: int, head_size: int, furthest: int, dtype: torch.dtype, device: torch.device) -> None:
        table = _sinusoids(_angles(torch.arange(2 * furthest + 1), head_size)).to(device, dtype)
        place = torch.arange(length, device=device)
        # (length, length, head_size)
        self.pairs = table[(place - place[:, None]).clamp(-furthest, furthest) + furthest]

    def scores(self, query: Tensor) -> Tensor:
        """As `UnclippedPositions.scores`."""
        return (query[..., None, :] @ self.pairs.transpose(-1, -2))[..., 0, :]

    def values(self, weights: Tensor) -> Tensor:
        """As `UnclippedPositions.values`."""
        return (weights[..., None, :] @ self.pairs)[..., 0, :]


# Each of the two is the gradient of the other. Autograd's own gradients would add to the clipped distances with atomics
# on a GPU: slow, since most keys of a long row share them, and in another order, so with another result, at every run.
class _Deal(Function):
    @staticmethod
    def forward(ctx, by_distance: Tensor, positions: ClippedPositions) -> Tensor:
        ctx.positions = positions
        return positions.deal(by_distance)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _Collect.apply(gradient, ctx.positions), None


class _Collect(Function):
    @staticmethod
    def forward(ctx, by_key: Tensor, positions: ClippedPositions) -> Tensor:
        ctx.positions = positions
        return positions.collect(by_key)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _Deal.apply(gradient, ctx.positions), None


def _angles(places: Tensor, head_size: int) -> Tensor:
    """places (count,). Returns the angle of each feature pair at each place, (count, head_size / 2), in float64."""
    frequencies = torch.exp(torch.arange(0, head_size, 2, dtype=torch.float64) * (-math.log(10000.0) / head_size))
    return places[:, None] * frequencies


def _sinusoids(angles: Tensor) -> Tensor:
    """Sine and cosine of each angle, side by side: (count, head_size / 2) to (count, head_size)."""
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def _times(x: Tensor, turn: Tensor) -> Tensor:
    """Feature pairs, as complex numbers, times the complex `turn` of their place. Complex numbers need full floats."""
    pairs = torch.view_as_complex(x.to(turn.real.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)
