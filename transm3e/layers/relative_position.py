"""Decomposed relative positions (MViTv2, Li et al. 2022, section 4.1) without the attention matrix.

MViTv2 adds to q.k the terms q.Rt[dt] + q.Rh[dh] + q.Rw[dw]. `Positions` computes these per query for every key time,
row and column; its codes say which of them a key takes. Appended to q and k, they enter the plain dot product, so any
fused attention kernel applies.

Shapes: B clips, H heads, C channels of a head, Q = Tq*Hq*Wq queries, N = Tk*Hk*Wk keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from transm3e.layers.common import narrow

Size = tuple[int, int, int]


def table_length(queries: int, keys: int) -> int:
    """Rows of a relative-position table along one axis with so many query and key positions."""
    return 2 * max(queries, keys) - 1


def resized(table: Tensor, length: int) -> Tensor:
    """A relative-position table (L, C) interpolated linearly to (length, C)."""
    return table if len(table) == length else F.interpolate(table.T[None], size=length, mode="linear")[0].T


def row_numbers(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """The row of a table of table_length for each pair of a query and a key position along one axis.

    Positions on the coarser axis count by the ratio of the two lengths.

    Returns:
        (queries, keys) int64.
    """
    at_query = torch.arange(queries, device=device) * max(keys / queries, 1.0)
    at_key = torch.arange(keys, device=device) * max(queries / keys, 1.0)
    return (at_query[:, None] - at_key[None, :] + (keys - 1) * max(queries / keys, 1.0)).long()


class Positions:
    """What relative positions need of one size of queries and keys, on one device: made once.

    Args:
        q_size, k_size: (T, H, W) of the query and key grids.
        tokens: class tokens, which come before the keys and have no position.
        width: channels of a head; with the terms it is padded to a multiple of `multiple`.
        dtype, device: that are computed with.

    Attributes:
        codes: (tokens + N, extra) one-hot codes of every key's time, row and column, 0 for class tokens and padding.
        rows: (R,) numbers of the three tables' rows, one table after the other: for each query time and row those of
            the key times and rows, then for each query column those of the key columns.
        chosen: (L, R) whether a row of the tables is a row of R.
    """

    def __init__(
        self,
        q_size: Size,
        k_size: Size,
        tokens: int,
        width: int,
        multiple: int,
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> None:
        self.q_size, self.k_size = q_size, k_size
        self.extra = sum(k_size) + -(width + sum(k_size)) % multiple
        self.lengths = [table_length(n_q, n_k) for n_q, n_k in zip(q_size, k_size, strict=True)]
        codes = F.pad(key_codes(k_size, device), (0, self.extra - sum(k_size), tokens, 0))
        starts = (0, self.lengths[0], self.lengths[0] + self.lengths[1])
        t, h, w = (row_numbers(q, k, device) + start for q, k, start in zip(q_size, k_size, starts, strict=True))
        th = torch.cat((t[:, None].expand(-1, len(h), -1), h[None].expand(len(t), -1, -1)), dim=2)
        rows = torch.cat((th.flatten(), w.flatten()))
        chosen = F.one_hot(rows, sum(self.lengths)).T
        self.split = [th.numel(), w.numel()]
        self.rows, self.codes, self.chosen = rows, codes.to(dtype), chosen.to(dtype)

    def queries(self, q: Tensor, tables: Sequence[Tensor], factor: float = 1.0) -> tuple[Tensor, Tensor]:
        """Queries with their terms q.Rt, q.Rh and q.Rw for every key time, row and column, which codes of keys choose.

        Args:
            q: (B, Q, H, C), dense.
            tables: of time, height and width, (L, C) each; of other lengths (weights of another input size) they are
                interpolated linearly.
            factor: on the terms.

        Returns:
            (B, Q, H, C + extra), and q for other uses: their gradients are summed in fewer passes.
        """
        table = torch.cat([resized(table, length) for table, length in zip(tables, self.lengths, strict=True)])
        table = narrow(table * factor)[0]
        # Traced for export, only the forward passes count.
        tracing = torch.jit.is_tracing()
        rows = table.index_select(0, self.rows) if tracing else _Rows.apply(table, self.rows, self.chosen)
        th, w = rows.split(self.split)
        times, lines, columns = self.q_size
        th, w = th.view(times * lines, -1, q.shape[-1]), w.view(columns, -1, q.shape[-1])
        # The compiler sums gradients in one pass itself, and does not trace the backward pass that does so here.
        if tracing or torch.compiler.is_compiling():
            return _with_terms(q, th, w, self.extra), q
        return _WithTerms.apply(q, th, w, self.extra)


class _Rows(torch.autograd.Function):
    """table[rows]; its gradient is a product with `chosen`."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(chosen)
        return table.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (chosen,) = ctx.saved_tensors
        return chosen @ gradient, None, None


class _WithTerms(torch.autograd.Function):
    """Positions.queries from rows of time and height (Tq*Hq, Tk+Hk, C), and of width (Wq, Wk, C)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, th: Tensor, w: Tensor, extra: int) -> tuple[Tensor, Tensor]:
        out = _with_terms(q, th, w, extra)
        ctx.save_for_backward(out, th, w)
        ctx.width = q.shape[-1]
        return out, q.view_as(q)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, of_q: Tensor) -> tuple[Tensor | None, ...]:
        out, th, w = ctx.saved_tensors
        parts = [ctx.width, th.shape[1], w.shape[1]]
        q, *_ = out.split([*parts, out.shape[-1] - sum(parts)], dim=-1)
        direct, by_th, by_w, _ = gradient.split([*parts, out.shape[-1] - sum(parts)], dim=-1)
        total = (direct + of_q).contiguous()
        lines, th_all, w_all = _lines(q, th, w)
        sums = total.view(lines.shape)
        by_th, by_w = by_th.reshape(*lines.shape[:2], -1), by_w.reshape(*lines.shape[:2], -1).transpose(0, 1)
        sums.baddbmm_(by_th, th_all)
        sums.transpose(0, 1).baddbmm_(by_w, w_all)
        grad_th = (by_th.transpose(1, 2) @ lines).view(-1, *th.shape).sum(0)
        grad_w = (by_w.transpose(1, 2) @ lines.transpose(0, 1)).view(len(w), -1, *w.shape[1:]).sum(1)
        return total, grad_th, grad_w, None


def _with_terms(q: Tensor, th: Tensor, w: Tensor, extra: int) -> Tensor:
    batch, queries, heads, _ = q.shape
    lines, th_all, w_all = _lines(q, th, w)
    # Queries of one time and row stand together in memory, and those of one column and head at equal distances,
    # which is a matrix as well: neither product copies q.
    terms_th = (lines @ th_all.transpose(1, 2)).view(batch, queries, heads, -1)
    terms_w = (lines.transpose(0, 1) @ w_all.transpose(1, 2)).transpose(0, 1).reshape(batch, queries, heads, -1)
    padding = q.new_zeros(()).expand(batch, queries, heads, extra - th.shape[1] - w.shape[1])
    return torch.cat((q, terms_th, terms_w, padding), dim=-1)


def _lines(q: Tensor, th: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries as (B*Tq*Hq, Wq*H, C), a matrix for each time and row; the rows that each, and each column and head, take."""
    batch, _, heads, width = q.shape
    lines = q.reshape(batch * len(th), len(w) * heads, width)
    return lines, th.expand(batch, *th.shape).flatten(0, 1), w[:, None].expand(-1, heads, -1, -1).flatten(0, 1)


def key_codes(k_size: Size, device: torch.device | None = None) -> Tensor:
    """One-hot codes of every key's time, row and column: (N, Tk + Hk + Wk) int64."""
    axes = torch.meshgrid(*(torch.arange(n, device=device) for n in k_size), indexing="ij")
    return torch.cat([F.one_hot(axis.flatten(), n) for axis, n in zip(axes, k_size, strict=True)], dim=-1)
