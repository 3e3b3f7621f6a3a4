"""Converts ST-GCN of its authors, PYSKL and MMAction2 (0.x and 1.x) to our names.

Sources of the names: st-gcn/net/st_gcn.py, mmaction/models/backbones/stgcn.py, mmaction/models/utils/gcn_utils.py and graph.py.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from transm3e.errors import UserError
from transm3e.models.weights.rename import Rules, renamed
from transm3e.models.weights.source import Converted, State, register_source

MARKER = r"^(backbone\.)?(st_gcn_networks\.\d+\.gcn\.conv\.|gcn\.\d+\.gcn\.(conv\.|PA$|A$))"
NAMES: Rules = (
    (r"^backbone\.", ""),
    (r"^data_bn\.", "data_norm."),
    (r"^(fcn|cls_head\.fc|cls_head\.fc_cls)\.", "head."),
    (r"^edge_importance\.(\d+)$", r"blocks.\1.spatial.importance"),
    (r"^(?:st_gcn_networks|gcn)\.(\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+)\.gcn\.conv\.", r"\1.spatial.conv."),
    (r"^(blocks\.\d+)\.gcn\.bn\.", r"\1.temporal.0."),
    (r"^(blocks\.\d+)\.tcn\.conv\.", r"\1.temporal.2."),
    (r"^(blocks\.\d+)\.tcn\.bn\.", r"\1.temporal.3."),
    (r"^(blocks\.\d+)\.tcn\.(\d+)\.", r"\1.temporal.\2."),
    (r"^(blocks\.\d+)\.residual\.(?:conv|0)\.", r"\1.around.0."),
    (r"^(blocks\.\d+)\.residual\.(?:bn|1)\.", r"\1.around.1."),
)
# In the file, one for all blocks or one for each; in the model.
GRAPH, ADJACENCY = r"A|blocks\.\d+\.gcn\.A", ".spatial.adjacency"
PLUS = "it is STGCN++ or another relative of ST-GCN (several branches over time), which is not implemented"
OTHER_GRAPH = (
    "its graph is not that of SKELETON.LAYOUT and STGCN.PARTITION here; the spatial graphs of the authors, PYSKL "
    "and MMAction2 are STGCN.PARTITION spatial_code (PYSKL and MMAction2 connect the finger tips of NTU-25 to other joints)"
)
OFFSET = "its learned weights are added to the graph (gcn_adaptive offset), not multiplied by it as in ST-GCN"
NO_GRAPH = "the file holds no graph: STGCN.PARTITION must be that of its training"


@register_source("stgcn", MARKER)
def convert_stgcn(state: State, own: State) -> Converted:
    """ST-GCN; the graph of every block in the file must be the model's.

    Raises:
        UserError: another graph, or a relative of ST-GCN.
    """
    if any(re.search(r"\.tcn\.(branches|transform)\.|\.gcn\.down\.", name) for name in state):
        raise UserError(PLUS)
    ours = renamed(state, NAMES)
    graphs = {name: ours.pop(name) for name in [*ours] if re.fullmatch(GRAPH, name)}
    for block in {name.removesuffix(ADJACENCY) for name in own if name.endswith(ADJACENCY)}:
        graph, importance = graphs.get(f"{block}.gcn.A", graphs.get("A")), f"{block}.spatial.importance"
        learned = ours.pop(f"{block}.gcn.PA", None)
        if graph is None:
            continue
        _check_graph(graph, own[block + ADJACENCY])
        if learned is not None:
            _check_importance(learned, graph)
        # Where no importance is learned (edge_importance_weighting False, gcn_adaptive None) it is 1.
        ours.setdefault(importance, torch.ones_like(graph) if learned is None else learned)
    head = ours.get("head.weight")
    if head is not None and head.dim() == 4 and _is_plain(head):
        ours["head.weight"] = head.flatten(1)
    return Converted(ours, dropped=tuple(graphs), notes=() if graphs else (NO_GRAPH,))


def _check_graph(theirs: Tensor, ours: Tensor) -> None:
    if ours.is_meta:
        return
    if (
        not _is_plain(theirs)
        or theirs.shape != ours.shape
        or not torch.allclose(theirs.to(ours), ours, rtol=0, atol=1e-5)
    ):
        raise UserError(OTHER_GRAPH)


def _check_importance(learned: Tensor, graph: Tensor) -> None:
    """Refuse offsets: factors get no gradient where there is no bone and stay equal there, offsets do not."""
    # Another kind or shape is refused by name later.
    apart = learned[graph == 0] if _is_plain(learned) and learned.shape == graph.shape else graph[:0]
    if apart.numel() and not torch.equal(apart, apart[0].expand_as(apart)):
        raise UserError(OFFSET)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.is_floating_point() and not tensor.is_meta
