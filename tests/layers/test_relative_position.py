"""Rows of the relative-position tables, their interpolation, and the terms of queries and codes of keys."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.layers.relative_position import key_codes, query_terms, table_length, table_rows

lengths = st.integers(1, 5)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_rows_are_the_distances(stride):
    for queries in range(1, 39):
        pooled = -(-queries // stride)
        # Keys coarser than queries, and the other way round.
        for n_q, n_k in ((queries, pooled), (pooled, queries)):
            rows = table_rows(torch.arange(table_length(n_q, n_k), dtype=torch.float64)[:, None], n_q, n_k)[..., 0]
            # Row 0 is the farthest key after the query.
            step_q, step_k = max(Fraction(n_k, n_q), Fraction(1)), max(Fraction(n_q, n_k), Fraction(1))
            exact = [[int(i * step_q - (j - n_k + 1) * step_k) for j in range(n_k)] for i in range(n_q)]
            assert rows.tolist() == exact, (n_q, n_k)


def test_a_table_of_another_length_is_interpolated():
    ramp = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None].expand(7, 3)
    rows = table_rows(ramp, 6, 6)
    assert rows.shape == (6, 6, 3)
    assert rows.min() >= 0
    assert rows.max() <= 1
    assert torch.equal(rows[0, 0], rows[5, 5])
    assert (rows[1:, 0] > rows[:-1, 0]).all()


@given(st.tuples(lengths, lengths, lengths), st.tuples(lengths, lengths, lengths), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_terms_times_codes_is_the_sum_of_the_three_biases(q_size, k_size, batch, heads):
    torch.manual_seed(0)
    n_q = torch.Size(q_size).numel()
    q = torch.randn(batch, n_q, heads, 6, dtype=torch.float64)
    tables = [torch.randn(table_length(a, b), 6, dtype=torch.float64) for a, b in zip(q_size, k_size, strict=True)]
    terms = torch.cat(query_terms(q, tables, q_size, k_size), dim=-1)
    assert terms.shape == (batch, n_q, heads, sum(k_size))
    bias = terms @ key_codes(k_size, like=q).T
    rows = [table_rows(t, a, b) for t, a, b in zip(tables, q_size, k_size, strict=True)]
    queries, keys = (torch.cartesian_prod(*(torch.arange(n) for n in size)) for size in (q_size, k_size))
    expected = 0
    for axis in range(3):
        chosen = rows[axis][queries[:, None, axis], keys[None, :, axis]]
        expected = expected + torch.einsum("bqhc,qnc->bqhn", q, chosen)
    assert torch.allclose(bias, expected, rtol=0, atol=1e-12)


def test_terms_pass_gradients_to_queries_and_interpolated_tables():
    torch.manual_seed(0)
    q_size, k_size = (2, 3, 4), (2, 2, 2)
    q = torch.randn(2, 24, 2, 3, dtype=torch.float64, requires_grad=True)
    tables = [torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (3, 7, 7)]
    assert torch.autograd.gradcheck(lambda q, *tables: query_terms(q, tables, q_size, k_size), (q, *tables))


def test_codes_name_each_keys_time_row_and_column():
    codes = key_codes((2, 3, 4), like=torch.empty(0, dtype=torch.bfloat16))
    assert codes.dtype == torch.bfloat16
    assert codes.shape == (24, 9)
    # Key 17 of a grid of 2 x 3 x 4 stands at time 1, row 1, column 1.
    assert codes[17].nonzero().flatten().tolist() == [1, 2 + 1, 5 + 1]
    assert (codes.sum(1) == 3).all()
