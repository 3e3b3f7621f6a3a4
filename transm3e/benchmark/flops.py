"""Work of one forward pass in multiply-adds, counted from shapes by fvcore.

fvcore calls one multiply-add one flop; this package calls it a MAC and counts 2 floating-point operations for it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transm3e.benchmark.candidate import Candidate

FLOPS_PER_MAC = 2
# The backward pass computes gradients of inputs and of weights, each as much work as the forward pass.
TRAINING_FORWARDS = 3
ATTENTION_OPS = (
    "aten::scaled_dot_product_attention",
    "aten::_scaled_dot_product_attention_math",
    "aten::_scaled_dot_product_attention_math_for_mps",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_fused_attention_overrideable",
)


@dataclass(frozen=True)
class Work:
    """Work of one forward pass.

    Attributes:
        macs: multiply-adds of matrix products, convolutions, attention, and what fvcore counts for norms.
        by_operator: the same, by operator.
        uncounted: operator without a count (additions, activations, ...) -> number of its calls.
    """

    macs: int
    by_operator: dict[str, int]
    uncounted: dict[str, int]


class _Logits(nn.Module):
    """A model of ours with tensors in and out, as fvcore's tracing needs it."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *clips: Tensor) -> Tensor:
        return self.model(dict(zip(self.names, clips, strict=True))).logits


def candidate_work(candidate: Candidate, device: torch.device) -> Work:
    """Work of a candidate's inference on one clip."""
    task = candidate.task
    clips = task.inputs(candidate.batch(1, device).clips)
    task.model.eval()
    return count_work(_Logits(task.model, tuple(clips)), tuple(clips.values()))


@torch.no_grad()
def count_work(module: nn.Module, inputs: tuple[Tensor, ...]) -> Work:
    """Work of `module(*inputs)`, in the mode (train or eval) that the module is in."""
    with warnings.catch_warnings():
        # fvcore uses deprecated parts of torch.jit, which warn.
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis
        from fvcore.nn.jit_handles import bmm_flop_jit

        handles: dict[str, Callable] = dict.fromkeys(ATTENTION_OPS, _attention_macs)
        handles["aten::baddbmm"] = lambda inputs, outputs: bmm_flop_jit(inputs[1:3], outputs)
        analysis = FlopCountAnalysis(module, inputs).set_op_handle(**handles)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        by_operator = {name: int(count) for name, count in analysis.by_operator().items()}
        uncounted = {name.rpartition("::")[2]: count for name, count in analysis.unsupported_ops().items()}
    return Work(sum(by_operator.values()), by_operator, uncounted)


def _attention_macs(inputs: list, outputs: list) -> int:
    """q (..., L, E), k (..., S, E), v (..., S, V): q.k is L*S*E, attention.v is L*S*V, for each head."""
    from fvcore.nn.jit_handles import get_shape

    q, k, v = (get_shape(value) for value in inputs[:3])
    return math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
