"""What a training step asks of a GPU, counted without one: `tools/benchmark.py counts`.

A step as the training loop does it runs on tensors of no memory (FakeTensors) that say they are on a GPU. Each operation
below autograd is counted with the kernels that CUDA builds of PyTorch launch for it, what it reads (each input once) and
writes, and its floating-point operations; so is everything that makes the processor wait for the GPU. No CUDA library is
needed. What is not known this way is how fast a kernel is: times are a roofline's, at the rates of GPUS.
"""

from __future__ import annotations

import math
import traceback
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from transm3e.benchmark.backward import run_backward
from transm3e.benchmark.candidate import Candidate, Entry, build_candidate
from transm3e.benchmark.markdown import table
from transm3e.benchmark.memory import DTYPES
from transm3e.benchmark.step import training_call
from transm3e.engine.precision import Precision
from transm3e.errors import UserError
from transm3e.layers.attention import FLASH_CAPABILITY, KERNEL_MULTIPLE

aten = torch.ops.aten
DEVICE = torch.device("cuda", 0)
GIB, GB = 2**30, 1e9
# Before it, torch calls CUDA for FakeTensors, and ends the process (2.4, 2.6).
OLDEST = "2.10"
PHASES = ("forward", "backward", "update")


@dataclass(frozen=True)
class Gpu:
    """Attributes: compute capability; bytes, half-precision and float32 operations per second, as kernels reach them."""

    capability: tuple[int, int]
    bandwidth: float
    half: float
    single: float


GPUS = {
    "V100": Gpu((7, 0), 0.78e12, 85e12, 14e12),
    "A100": Gpu((8, 0), 1.6e12, 230e12, 17e12),
    "H100": Gpu((9, 0), 2.7e12, 550e12, 45e12),
}
# No kernel ends sooner than this many seconds.
LEAST_TIME = 3e-6
# Operation -> kernels, where it is not one: a fill and a copy, gradients of inputs and of weights.
KERNELS = {
    **dict.fromkeys(("constant_pad_nd", "slice_backward", "select_backward", "convolution_backward"), 2),
    **dict.fromkeys(("native_layer_norm_backward", "_scaled_dot_product_efficient_attention_backward"), 3),
    **dict.fromkeys(("_scaled_dot_product_flash_attention_backward",), 3),
}
# Of index_put where values are summed, which sorts the indices.
SUMMING = 8
# Lists of tensors that a kernel over many tensors takes -> how many of each (PyTorch's MultiTensorApply.cuh).
MANY = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
# They do not read what they write over.
FILLS = {"copy_", "_foreach_copy_", "fill_", "zero_", "bernoulli_", "uniform_", "normal_"}
# The host waits for their result's size.
WAITING = {"nonzero", "masked_select", "_unique2"}
# They take a shape and a type from their first argument, and do not read it.
SHAPED = {"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"}
# They read no more of their first argument than they give.
PICKS = {"index", "index_select", "gather", "embedding"}
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted"}
HALF = (torch.float16, torch.bfloat16)
FLASH_WIDTH = 256  # the widest head of its kernel
OTHER = "element by element, copies"
KINDS = {
    "attention": ("scaled_dot_product",),
    "matrix products": ("mm",),
    "convolutions": ("convolution",),
    "norms": ("layer_norm", "batch_norm"),
    "casts": ("_to_copy", "_foreach_copy_"),
    "optimiser": ("_fused", "_foreach", "_amp"),
}


@dataclass
class Counts:
    """Of one training step.

    Attributes:
        batch_size: clips.
        kernels: phase -> launches.
        moved: bytes read and written.
        operations: floating-point operations of matrix products, attention and convolutions.
        saved: bytes that the forward pass keeps for the backward pass, parameters not counted.
        waits: reason -> how often the processor waits for the GPU.
        copies: where -> copies to the GPU that the processor waits for.
        seconds: GPU -> sum over kernels of what takes longest: memory, arithmetic, or LEAST_TIME.
        kinds: kind of operation -> (launches, bytes).
    """

    batch_size: int
    kernels: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    operations: int = 0
    saved: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    kinds: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


def count_steps(entries: Sequence[Entry], precision: str, batch_size: int, gpu: str) -> dict[str, Counts]:
    """Name of each entry -> what its training step asks of a GPU; kernels are chosen as on `gpu`.

    Raises:
        UserError: a candidate cannot be built, or this torch calls CUDA for tensors of no memory.
    """
    if torch.__version__ < OLDEST:
        raise UserError(
            f"torch {torch.__version__} cannot count a GPU's step without a GPU; install torch {OLDEST} or newer"
        )
    return {entry.name: count_step(entry, precision, batch_size, gpu) for entry in entries}


def count_step(entry: Entry, precision: str, batch_size: int, gpu: str = "V100") -> Counts:
    """The same of one entry; it is the second step that is counted, as the first builds what stays."""
    candidate = build_candidate(entry, torch.device("cpu"))
    counter = _Counter(Counts(batch_size))
    with ExitStack() as stack:
        for name, value in {
            "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
            "torch.cuda.is_bf16_supported": lambda *_: True,
            "torch.cuda.get_device_capability": lambda *_: GPUS[gpu].capability,
            # It asks for plain tensors, which FakeTensors are not.
            "torch.nn.utils.clip_grad._has_foreach_support": lambda *_: True,
            "torch._subclasses.fake_tensor.FakeTensor.tolist": lambda tensor: counter.read_list(tensor),
        }.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        _pretend(candidate)
        step = training_call(candidate, candidate.batch(batch_size, DEVICE), Precision(DEVICE, DTYPES[precision]))
        for _ in range(2):
            counter.counts, counter.phase = Counts(batch_size), PHASES[0]
            kept = _Kept(candidate.task.model)
            with counter, _Host(counter, GPUS[gpu]), torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda x: x):
                step()
            counter.counts.saved = kept.total
    return counter.counts


def to_markdown(found: dict[str, Counts], precision: str, gpu: str) -> str:
    """Tables of all, and of the first by kind of operation, with the rates that times are computed with."""
    head = [
        *("model", "clips", "bytes moved", "launches (forward, backward, update)", "host waits", "blocking copies"),
        *("activations per clip", "TFLOP", *(f"{name} at best" for name in GPUS)),
    ]
    rows = [
        [
            *(name, str(one.batch_size), f"{one.moved / GB:.1f} GB"),
            f"{one.kernels.total():,} ({', '.join(f'{one.kernels[phase]:,}' for phase in PHASES)})",
            *(str(one.waits.total()), str(one.copies.total()), f"{one.saved / one.batch_size / GIB:.3f} GiB"),
            *(f"{one.operations / 1e12:.2f}", *(f"{one.seconds[name] * 1e3:.0f} ms" for name in GPUS)),
        ]
        for name, one in found.items()
    ]
    kinds = {kind: None for one in found.values() for kind in sorted(one.kinds, key=lambda k: -one.kinds[k][1])}
    parts = [
        [kind, *(f"{one.kinds[kind][0]:,}, {one.kinds[kind][1] / GB:.1f} GB" for one in found.values())]
        for kind in kinds
    ]
    rates = "; ".join(
        f"{name} {one.bandwidth / 1e12:g} TB/s, {one.half / 1e12:g} and {one.single / 1e12:g} TFLOP/s"
        for name, one in GPUS.items()
    )
    waits = [
        f"- {name}: {word}: {what} ({times})"
        for name, one in found.items()
        for word, reasons in (("host wait", one.waits), ("blocking copy", one.copies))
        for what, times in reasons.items()
    ]
    notes = [
        f"- One training step in {precision}, counted without a GPU; kernels as PyTorch chooses them on a {gpu}.",
        f"- At best: each kernel takes what memory or arithmetic needs, and {LEAST_TIME * 1e6:g} us at least. Assumed: "
        f"{rates} (half precision, float32).",
    ]
    return (
        "\n\n".join([table(head, rows), table(["launches, bytes", *found], parts), "\n".join([*notes, *waits])]) + "\n"
    )


class _Counter(TorchDispatchMode):
    """Counts what comes out of autograd and autocast."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts, self.phase = counts, PHASES[0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            self.counts.waits[f"a number is read, {_where()}"] += 1
            return 0.0 if args[0].is_floating_point() else 0
        name = func.overloadpacket.__name__
        # Fused optimisers give nothing back, and not all have shapes to compute.
        out = None if name.startswith("_fused_") else func(*args, **kwargs)
        ins, outs = _tensors((args, kwargs)), _tensors(out)
        # What is written in place, or over `out`.
        given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        over = [a for a in func._schema.arguments if a.alias_info and a.alias_info.is_write and a.name in given]
        written = _tensors([given[a.name] for a in over]) or outs
        fills = _tensors([given[a.name] for a in over if a.kwarg_only or name in FILLS])
        if any(t.device == DEVICE for t in (*ins, *outs)) and name not in NO_KERNEL and (over or not _views(ins, outs)):
            self._note_transfers(name, args, kwargs, ins, outs)
            self._add(func, args, kwargs, [t for t in ins if not any(t is other for other in fills)], written, out)
        return out

    def read_list(self, tensor: Tensor) -> list[float]:
        self.counts.waits[f"numbers are read, {_where()}"] += 1
        return [0.0] * tensor.numel()

    def _note_transfers(self, name: str, args: Any, kwargs: Any, ins: list[Tensor], outs: list[Tensor]) -> None:
        if name in WAITING:
            self.counts.waits[f"{name}, {_where()}"] += 1
        if name in ("index", "index_put", "index_put_"):
            for _ in (t for t in ins[1:] if t.device != DEVICE and t.dim()):
                self.counts.copies[f"indices, {_where()}"] += 1
        elif name in ("_to_copy", "copy_") and ins:
            source, target = (ins[1], ins[0]) if name == "copy_" else (ins[0], outs[0])
            waits = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
            if source.device != target.device and waits:
                found = self.counts.copies if target.device == DEVICE else self.counts.waits
                found[f"copy of {tuple(source.shape)}, {_where()}"] += 1

    def _add(self, func: Any, args: Any, kwargs: Any, ins: list[Tensor], outs: list[Tensor], out: Any) -> None:
        name, counts = func.overloadpacket.__name__, self.counts
        written = sum(map(_nbytes, outs))
        read = [_nbytes(t) for t in ins]
        if name in SHAPED:
            read[0] = 0
        if name in PICKS:
            read[0] = min(read[0], written)
        moved = sum(read) + written
        operations = _operations(func.overloadpacket, args, kwargs, out)
        lists = [a for a in args if isinstance(a, (list, tuple)) and a and isinstance(a[0], Tensor)]
        many = name.startswith(KINDS["optimiser"]) and lists
        kernels = -(-len(lists[0]) // MANY[min(5, len(lists))]) if many else KERNELS.get(name, 1)
        if name in ("index_put", "index_put_") and args[3:4] == (True,):
            kernels = SUMMING
        counts.kernels[self.phase] += kernels
        counts.moved += moved
        counts.operations += operations
        kind = next((kind for kind, words in KINDS.items() if any(word in name for word in words)), OTHER)
        counts.kinds[kind] = [sum(pair) for pair in zip(counts.kinds[kind], (kernels, moved), strict=True)]
        half = any(t.dtype in HALF for t in ins)
        for gpu, one in GPUS.items():
            rate = one.half if half else one.single
            counts.seconds[gpu] += max(moved / one.bandwidth, operations / rate, kernels * LEAST_TIME)


class _Host(TorchFunctionMode):
    """What is above autograd: the choice of attention's kernel, the backward pass, what the processor reads."""

    def __init__(self, counter: _Counter, gpu: Gpu) -> None:
        super().__init__()
        self.counter, self.gpu = counter, gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch._C._nn.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is Tensor.backward:
            self.counter.phase = PHASES[1]
            with torch.no_grad():
                run_backward(args[0])
            self.counter.phase = PHASES[2]
            return None
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]))
        return func(*args, **kwargs)

    def _attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Any = None,
        dropout: float = 0.0,
        causal: bool = False,
        **scale: Any,
    ) -> Tensor:
        if torch.is_autocast_enabled("cuda"):
            q, k, v = (x.to(torch.get_autocast_dtype("cuda")) for x in (q, k, v))
        width, other = q.shape[-1], v.shape[-1]
        scale.pop("enable_gqa", None)
        if width % KERNEL_MULTIPLE or other % KERNEL_MULTIPLE:
            return aten._scaled_dot_product_attention_math(q, k, v, mask, dropout, causal, **scale)[0]
        if (
            q.dtype in HALF
            and self.gpu.capability >= FLASH_CAPABILITY
            and mask is None
            and width == other <= FLASH_WIDTH
        ):
            return aten._scaled_dot_product_flash_attention(q, k, v, dropout, causal, **scale)[0]
        keeps = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
        return aten._scaled_dot_product_efficient_attention(q, k, v, mask, keeps, dropout, causal, **scale)[0]


class _Kept:
    """Bytes of what autograd keeps, each storage once, those of a model's parameters and buffers left out."""

    def __init__(self, model: nn.Module) -> None:
        self._seen = {t.untyped_storage()._cdata: t for t in (*model.parameters(), *model.buffers())}
        self.total = 0

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.device == DEVICE and storage._cdata not in self._seen:
            self._seen[storage._cdata] = tensor
            self.total += storage.nbytes()
        return tensor


def _pretend(candidate: Candidate) -> None:
    """Replace a task's tensors with ones of the same shapes and strides that claim to be on a GPU."""
    for root in vars(candidate.task).values():
        for module in root.modules() if isinstance(root, nn.Module) else ():
            holders: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for tensors in holders:
                for name, old in tensors.items():
                    if old is not None and old.device != DEVICE:
                        new = torch.empty_strided(old.size(), old.stride(), dtype=old.dtype, device=DEVICE)
                        tensors[name] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new


def _operations(operation: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Floating-point operations; those of torch's own formulas, which do not know groups, but for convolutions."""
    if operation is aten.convolution:
        return 2 * out.numel() * args[1][0].numel()
    if operation is aten.convolution_backward:
        return 2 * args[0].numel() * args[2][0].numel() * sum(args[-1][:2])
    formula = flop_registry.get(operation)
    return formula(*args, **kwargs, out_val=out) if formula else 0


def _tensors(tree: Any) -> list[Tensor]:
    return list({id(t): t for t in tree_leaves(tree) if isinstance(t, Tensor)}.values())


def _views(ins: list[Tensor], outs: list[Tensor]) -> bool:
    storages = {t.untyped_storage()._cdata for t in ins}
    return bool(ins) and all(t.untyped_storage()._cdata in storages for t in outs)


def _nbytes(t: Tensor) -> int:
    """Bytes behind a tensor; what is expanded is read once."""
    return math.prod(n for n, step in zip(t.shape, t.stride(), strict=True) if step) * t.element_size()


def _where() -> str:
    """The line of this package that asks."""
    frames = (frame for frame in reversed(traceback.extract_stack()) if frame.filename != __file__)
    frame = next((f for f in frames if "transm3e" in f.filename), None)
    return f"{Path(frame.filename).name}:{frame.lineno}" if frame else "torch"
