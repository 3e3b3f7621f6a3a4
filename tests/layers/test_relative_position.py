"""Rows of the relative-position tables, their interpolation, and the codes of keys."""

from __future__ import annotations

import pytest
import torch

from transm3e.layers.relative_position import key_codes, query_terms, table_length, table_rows


@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (8, 4), (4, 8), (7, 7), (14, 7), (1, 1)])
def test_rows_are_the_distances(queries, keys):
    length = table_length(queries, keys)
    table = torch.arange(length, dtype=torch.float64)[:, None]
    rows = table_rows(table, queries, keys)[..., 0]
    finest = max(queries, keys)
    for i in range(queries):
        for j in range(keys):
            # Row 0 is the farthest key after the query; equal positions differ by 0.
            at_query, at_key = i * (finest / queries), j * (finest / keys)
            offset = (keys - 1) * max(queries / keys, 1.0)
            assert rows[i, j] == int(at_query - at_key + offset)


def test_a_table_of_another_length_is_interpolated():
    ramp = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None].expand(7, 3)
    rows = table_rows(ramp, 6, 6)
    assert rows.shape == (6, 6, 3)
    assert rows.min() >= 0
    assert rows.max() <= 1
    assert torch.equal(rows[0, 0], rows[5, 5])
    assert (rows[1:, 0] > rows[:-1, 0]).all()


def test_terms_times_codes_is_the_sum_of_the_three_biases():
    torch.manual_seed(0)
    q_size, k_size = (2, 4, 3), (2, 2, 3)
    q = torch.randn(1, 2, 24, 6, dtype=torch.float64)
    tables = tuple(torch.randn(table_length(a, b), 6, dtype=torch.float64) for a, b in zip(q_size, k_size, strict=True))
    bias = query_terms(q, tables, q_size, k_size) @ key_codes(k_size, like=q).T
    rows = [table_rows(t, a, b) for t, a, b in zip(tables, q_size, k_size, strict=True)]
    t, h, w, tk, hk, wk = 1, 2, 0, 0, 1, 2
    index_q, index_k = (t * 4 + h) * 3 + w, (tk * 2 + hk) * 3 + wk
    expected = sum(q[0, 1, index_q] @ row for row in (rows[0][t, tk], rows[1][h, hk], rows[2][w, wk]))
    assert bias[0, 1, index_q, index_k].item() == pytest.approx(expected.item(), abs=1e-12)
