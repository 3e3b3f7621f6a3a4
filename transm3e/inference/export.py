"""Models as files for other programs: uint8 clips (or joints) in, scores out, any number of clips, checked after writing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.errors import UserError, first_line
from transm3e.files import atomic_path
from transm3e.inference.onnx_task import ACTIVITIES_ENTRY, CFG_ENTRY, open_session, optional, run_session
from transm3e.modalities import JOINTS, STORED, clip_shape, model_class, stored_modalities
from transm3e.tasks import Classify

OPSET = 18
BATCHES = (1, 2, 3)  # the sizes that are checked; what is traced has 2
# Largest difference of a score that is accepted, of weights in each precision; scores are in [0, 1].
TOLERANCES = {"float32": 1e-4, "fp16": 1e-2, "int8": 0.1}
Run = Callable[[dict[str, Tensor]], Tensor]


class Scorer(nn.Module):
    """A task as one module: Batch.clips, one argument per stored modality in the order of `names` -> scores (B, C).

    Args:
        task: trained; its model is put into evaluation mode.
        names: keys of Batch.clips.
    """

    def __init__(self, task: Classify, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.names = task.model, task.inputs, tuple(names)
        self._scores = task.loss.scores
        self.eval()

    def forward(self, *clips: Tensor) -> Tensor:
        return self._scores(self.model(self.inputs(dict(zip(self.names, clips, strict=True)))).logits)


def export(
    cfg: CfgNode,
    task: Classify,
    file: Path,
    to: str,
    precision: str = "float32",
    clips: Sequence[dict[str, Tensor]] = (),
    tolerance: float | None = None,
) -> float:
    """Write a model, and compare the file with it on random clips and on `clips`; returns the largest difference of a score.

    Args:
        task: on the CPU.
        to: one of FORMATS.
        precision: of the weights, one of TOLERANCES; other than float32 for ONNX only.
        clips: real ones, Batch.clips each.
        tolerance: None = that of TOLERANCES.

    Raises:
        UserError: the model draws its scores, the format cannot express it, a package is not installed, or scores
            differ by more than the tolerance; then no file is written, and one that was there stays.
    """
    if model_class(cfg).draws:
        raise UserError(
            f"MODEL.MODEL_NAME {cfg.MODEL.MODEL_NAME} draws its scores from pixels, so there is no model to export"
        )
    if precision != "float32" and to != "onnx":
        raise UserError(f"weights in {precision} are for --to onnx only, not {to}")
    names = stored_modalities(cfg, training=False)
    scorer = Scorer(task, names).requires_grad_(False)
    with atomic_path(file) as partial:
        try:
            # An exporter that fails prints its whole graph.
            with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(StringIO()):
                warnings.simplefilter("ignore")  # about sizes that are constant for a config
                FORMATS[to][0](scorer, random_clips(cfg, names, 2), partial)
        except UserError:
            raise
        except Exception as error:  # exporters raise anything
            raise UserError(f"{cfg.MODEL.MODEL_NAME} cannot be exported to {to}: {first_line(error, 300)}") from error
        if to == "onnx":
            _finish(partial, cfg, task, precision)
        run = FORMATS[to][1](partial, names)
        several = [*(random_clips(cfg, names, size) for size in BATCHES), *clips]
        worst = max(_difference(scorer, run, batch, to) for batch in several)
        allowed = TOLERANCES[precision] if tolerance is None else tolerance
        if not worst <= allowed:
            raise UserError(
                f"{to} ({precision}) differs from the model by {worst:.1e}, allowed: {allowed:.1e}; nothing was written; "
                "use another format or precision, or raise --tolerance"
            )
    return worst


def random_clips(cfg: CfgNode, names: Sequence[str], number: int) -> dict[str, Tensor]:
    """Batch.clips of noise: pixels uint8 0 to 255, joints in [0, 1]."""
    generator = torch.Generator().manual_seed(number)
    shapes = {name: (number, *clip_shape(cfg, name)) for name in names}
    size = {name: (*shape[:-2], *2 * (cfg.DATA.TEST_CROP_SIZE,)) for name, shape in shapes.items()}
    return {
        name: torch.rand(shape, generator=generator)
        if STORED[name].kind == JOINTS
        else torch.randint(0, 256, size[name], generator=generator, dtype=torch.uint8)
        for name, shape in shapes.items()
    }


@torch.no_grad()
def _difference(scorer: Scorer, run: Run, clips: dict[str, Tensor], to: str) -> float:
    wanted = scorer(*(clips[name] for name in scorer.names))
    try:
        found = run(clips)
    except Exception as error:
        raise UserError(f"the {to} file does not run on {len(wanted)} clips: {first_line(error, 300)}") from error
    # NaN is not below any tolerance.
    return float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")


def _to_onnx(scorer: Scorer, clips: Mapping[str, Tensor], file: Path) -> None:
    optional("onnx")
    # The exporter by tracing: ten times as fast as that of torch.export, with the same scores.
    torch.onnx.export(
        scorer,
        tuple(clips.values()),
        str(file),
        dynamo=False,
        opset_version=OPSET,
        input_names=[*clips],
        output_names=["scores"],
        dynamic_axes={name: {0: "clips"} for name in (*clips, "scores")},
    )


def _run_onnx(file: Path, names: Sequence[str]) -> Run:
    session = open_session(file)
    return lambda clips: torch.from_numpy(run_session(session, clips))


def _to_torch_export(scorer: Scorer, clips: Mapping[str, Tensor], file: Path) -> None:
    batch = torch.export.Dim("clips", min=1, max=4096)
    shapes = (tuple({0: batch} for _ in clips),)
    program = torch.export.export(scorer, tuple(clips.values()), dynamic_shapes=shapes, strict=False)
    with file.open("wb") as stream:
        torch.export.save(program, stream)


def _run_torch_export(file: Path, names: Sequence[str]) -> Run:
    with file.open("rb") as stream:
        module = torch.export.load(stream).module()
    return lambda clips: module(*(clips[name] for name in names))


def _to_torchscript(scorer: Scorer, clips: Mapping[str, Tensor], file: Path) -> None:
    torch.jit.trace(scorer, tuple(clips.values()), check_trace=False).save(str(file))


def _run_torchscript(file: Path, names: Sequence[str]) -> Run:
    module = torch.jit.load(str(file))
    return lambda clips: module(*(clips[name] for name in names))


# Format -> (writer, what runs a file of it).
FORMATS: dict[
    str, tuple[Callable[[Scorer, Mapping[str, Tensor], Path], None], Callable[[Path, Sequence[str]], Run]]
] = {
    "onnx": (_to_onnx, _run_onnx),
    "torch_export": (_to_torch_export, _run_torch_export),
    "torchscript": (_to_torchscript, _run_torchscript),
}


def _finish(file: Path, cfg: CfgNode, task: Classify, precision: str) -> None:
    """Store weights in their precision, and the config."""
    onnx = optional("onnx")
    if precision == "int8":
        quantization = optional("onnxruntime.quantization")
        # onnxruntime has no convolution of integers over three dimensions.
        quantization.quantize_dynamic(str(file), str(file), op_types_to_quantize=["MatMul", "Gemm"])
    model = onnx.load(str(file))
    if precision == "fp16":
        _halve(onnx, model.graph)
    entries = {CFG_ENTRY: cfg.dump()}
    if task.activities:
        entries[ACTIVITIES_ENTRY] = json.dumps(task.activities.as_plain())
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, str(file))


def _halve(onnx: Any, graph: Any) -> None:
    """Store matrices as float16 and widen them when the model is loaded: half the file, computed in float32."""
    casts = []
    for weight in graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) > 1:
            values, name = onnx.numpy_helper.to_array(weight), weight.name
            weight.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), f"{name}_fp16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}_fp16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
