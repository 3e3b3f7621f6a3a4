"""Decomposed relative positions (MViTv2, Li et al. 2022, section 4.1) without the attention matrix.

MViTv2 adds to q.k the terms q.Rt[dt] + q.Rh[dh] + q.Rw[dw]. `query_terms` computes these per query for every
key time, row and column; `key_codes` says which of them a key takes. Appended to q and k, they enter the plain
dot product, so any fused attention kernel applies.

Shapes: B clips, H heads, C channels of a head, Q = Tq*Hq*Wq queries, N = Tk*Hk*Wk keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int, int]


def table_length(queries: int, keys: int) -> int:
    """Rows of a relative-position table along one axis with so many query and key positions."""
    return 2 * max(queries, keys) - 1


def resized(table: Tensor, length: int) -> Tensor:
    """A relative-position table (L, C) interpolated linearly to (length, C)."""
    return table if len(table) == length else F.interpolate(table.T[None], size=length, mode="linear")[0].T


def table_rows(table: Tensor, queries: int, keys: int) -> Tensor:
    """The table row for each pair of a query and a key position along one axis.

    Positions on the coarser axis count by the ratio of the two lengths. A table of another length (weights of
    another input size) is interpolated linearly.

    Args:
        table: (L, C), row i is the distance i - (L - 1) / 2.

    Returns:
        (queries, keys, C).
    """
    table = resized(table, table_length(queries, keys))
    at_query = torch.arange(queries, device=table.device) * max(keys / queries, 1.0)
    at_key = torch.arange(keys, device=table.device) * max(queries / keys, 1.0)
    distance = at_query[:, None] - at_key[None, :] + (keys - 1) * max(queries / keys, 1.0)
    return table[distance.long()]


def query_terms(q: Tensor, tables: Sequence[Tensor], q_size: Size, k_size: Size) -> tuple[Tensor, Tensor]:
    """q.Rt and q.Rh, and q.Rw, of every query with every key time, row and column.

    Args:
        q: (B, Q, H, C), dense.
        tables: of time, height and width.
        q_size, k_size: (T, H, W) of the query and key grids.

    Returns:
        (B, Q, H, Tk + Hk) and (B, Q, H, Wk).
    """
    batch, _, heads, width = q.shape
    t, h, w = q_size
    rows_t, rows_h, rows_w = (table_rows(r, n_q, n_k) for r, n_q, n_k in zip(tables, q_size, k_size, strict=True))
    rows_th = torch.cat((rows_t[:, None].expand(-1, h, -1, -1), rows_h[None].expand(t, -1, -1, -1)), dim=2)
    rows_th = rows_th.expand(batch, -1, -1, -1, -1).flatten(0, 2)
    rows_w = rows_w[:, None].expand(-1, heads, -1, -1).flatten(0, 1)
    lines = q.reshape(batch * t * h, w * heads, width)
    # Queries of one time and row stand together in memory, and those of one column and head at equal distances, which
    # is a matrix as well: neither product copies q.
    terms_th = lines @ rows_th.transpose(1, 2)
    terms_w = lines.transpose(0, 1) @ rows_w.transpose(1, 2)
    shape = (batch, t * h * w, heads, -1)
    return terms_th.reshape(shape), terms_w.transpose(0, 1).reshape(shape)


def key_codes(k_size: Size, like: Tensor) -> Tensor:
    """One-hot codes of every key's time, row and column: (N, Tk + Hk + Wk), in `like`'s type and device."""
    axes = torch.meshgrid(*(torch.arange(n, device=like.device) for n in k_size), indexing="ij")
    codes = [F.one_hot(axis.flatten(), n) for axis, n in zip(axes, k_size, strict=True)]
    return torch.cat(codes, dim=-1).to(like.dtype)
