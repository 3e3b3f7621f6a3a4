"""The backward pass as autograd's engine runs it, in Python: the engine asks CUDA for streams, which takes a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def run_backward(loss: Any) -> None:
    """Compute the gradients of a scalar loss: nodes in order of their edges, gradients summed, and stored in `grad`."""
    waiting: Counter[Any] = Counter()
    found, nodes = {loss.grad_fn}, [loss.grad_fn]
    for node in nodes:
        for following, _ in node.next_functions:
            if following is not None:
                waiting[following] += 1
                if following not in found:
                    found.add(following)
                    nodes.append(following)
    given: dict[Any, list[Tensor | None]] = {node: [None] * len(node._input_metadata) for node in nodes}
    given[loss.grad_fn] = [torch.ones_like(loss)]
    ready = [loss.grad_fn]
    while ready:
        node = ready.pop()
        edges = node.next_functions
        results = _apply(node, given.pop(node)) if edges or hasattr(node, "variable") else ()
        for (following, index), gradient in zip(edges, results, strict=False):
            if following is None:
                continue
            if gradient is not None:
                wanted, sums = following._input_metadata[index], given[following]
                gradient = gradient.sum_to_size(wanted.shape) if gradient.shape != wanted.shape else gradient
                gradient = gradient.to(wanted.dtype)
                before = sums[index]
                sums[index] = gradient if before is None else before + gradient
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)


def _apply(node: Any, gradients: list[Any]) -> Sequence[Tensor | None]:
    if all(gradient is None for gradient in gradients):
        return [None] * len(node.next_functions)
    if hasattr(node, "variable"):
        variable, gradient = node.variable, gradients[0]
        if variable.grad is None:
            # Taken over as it is where it lies in memory as the parameter does.
            variable.grad = gradient if gradient.stride() == variable.stride() else gradient.clone()
        else:
            variable.grad += gradient
        return ()
    if hasattr(node, "apply"):  # written in Python
        whole = [
            torch.zeros(m.shape, dtype=m.dtype, device=m.device) if g is None else g
            for g, m in zip(gradients, node._input_metadata, strict=True)
        ]
        results = node.apply(*whole)
        # Only tensors have edges; here they come before other arguments.
        return (results if isinstance(results, tuple) else (results,))[: len(node.next_functions)]
    results = node(*gradients)
    return results if isinstance(results, tuple) else (results,)
