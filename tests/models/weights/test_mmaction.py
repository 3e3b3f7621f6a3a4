"""MMAction2's recognizers: the same scores from small nets written here under its names, and reasons for the others."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from transm3e.errors import UserError
from transm3e.layers.graph import Graph
from transm3e.models import build_model
from transm3e.models.resnet3d import ResNet3D
from transm3e.models.slowfast import SlowFast
from transm3e.models.stgcn import STGCN
from transm3e.models.weights import load_weights

DEPTHS, WIDTH, CLASSES = (3, 4, 6, 3), 8, 5


class ConvModule(nn.Module):
    def __init__(self, before, after, kernel, stride=(1, 1, 1)):
        super().__init__()
        self.conv = nn.Conv3d(before, after, kernel, stride, tuple(k // 2 for k in kernel), bias=False)
        self.bn = nn.BatchNorm3d(after)

    def forward(self, x):
        return self.bn(self.conv(x))


class Bottleneck(nn.Module):
    def __init__(self, before, inner, time, stride):
        super().__init__()
        self.conv1 = ConvModule(before, inner, (time, 1, 1))
        self.conv2 = ConvModule(inner, inner, (1, 3, 3), (1, stride, stride))
        self.conv3 = ConvModule(inner, 4 * inner, (1, 1, 1))
        self.downsample = None
        if before != 4 * inner:
            self.downsample = ConvModule(before, 4 * inner, (1, 1, 1), (1, stride, stride))

    def forward(self, x):
        out = self.conv3(self.conv2(self.conv1(x).relu()).relu())
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class SlowOnly(nn.Module):
    """ResNet3dSlowOnly and I3DHead: inflate (0, 0, 1, 1), conv1_kernel (1, 7, 7), no second pool."""

    def __init__(self):
        super().__init__()
        net, before = nn.Module(), WIDTH
        net.conv1 = ConvModule(3, WIDTH, (1, 7, 7), (1, 2, 2))
        for stage, depth in enumerate(DEPTHS):
            blocks = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(Bottleneck(before, WIDTH * 2**stage, 3 if stage > 1 else 1, stride))
                before = 4 * WIDTH * 2**stage
            setattr(net, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.backbone, self.cls_head = net, nn.Module()
        self.cls_head.fc_cls = nn.Linear(before, CLASSES)

    def forward(self, x):
        x = functional.max_pool3d(self.backbone.conv1(x).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for stage in range(4):
            x = getattr(self.backbone, f"layer{stage + 1}")(x)
        return self.cls_head.fc_cls(x.mean((2, 3, 4)))


def drawn(model):
    torch.manual_seed(3)
    for name, each in [*model.named_parameters(), *model.named_buffers()]:
        if each.is_floating_point() and not name.endswith(("adjacency", ".A")):
            nn.init.uniform_(each, 0.2, 0.6) if "var" in name else nn.init.normal_(each, std=0.15)
    return model.double().eval()


@pytest.fixture(scope="module")
def slowonly():
    return drawn(SlowOnly())


def test_slowonly_is_slow(slowonly, tmp_path):
    torch.save({"meta": {"epoch": 1}, "state_dict": slowonly.state_dict(), "message_hub": {}}, tmp_path / "a.pth")
    model = ResNet3D("slow", CLASSES, width=WIDTH).double().eval()
    report = load_weights(model, tmp_path / "a.pth")
    assert (report.source, report.missing, report.unused) == ("mmaction", (), ())
    clip = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    expected = slowonly(clip)
    assert expected.std() > 1e-3
    assert torch.allclose(model({"rgb": clip}).logits, expected, rtol=1e-9, atol=1e-12)


def test_an_image_model_of_tsn_is_inflated(slowonly):
    state = {k: v[:, :, 0] if v.dim() == 5 else v for k, v in slowonly.state_dict().items()}
    report = load_weights(ResNet3D("slow", CLASSES, width=WIDTH), state)
    assert report.missing == ()
    assert any(done.endswith("inflated") for _, done in report.reshaped)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone.conv1.conv.weight": torch.zeros(WIDTH, 3, 5, 7, 7)}, "I3D halves time in the first convolution"),
        ({"backbone.layer2.0.non_local_block.g.conv.weight": torch.zeros(1)}, "non-local blocks"),
        ({"backbone.layer1.0.conv1.conv.net.weight": torch.zeros(1)}, "it is TSM"),
    ],
)
def test_what_computes_something_else_is_refused_by_its_reason(slowonly, change, message):
    with pytest.raises(UserError, match=f"^x: MMAction2: .*{message}"):
        load_weights(ResNet3D("i3d", CLASSES, width=WIDTH), slowonly.state_dict() | change, name="x")


def test_slowfast_is_refused_by_its_reason():
    with torch.device("meta"):
        model = SlowFast(CLASSES)
    state = {
        "backbone.slow_path.conv1.conv.weight": torch.zeros(64, 3, 1, 7, 7),
        "cls_head.fc_cls.bias": torch.zeros(5),
    }
    with pytest.raises(UserError, match="neither batch norm nor ReLU after the lateral convolutions"):
        load_weights(model, state)


@pytest.mark.parametrize("wrap", ["", "model."])
def test_mvitv2(tiny_cfg, wrap):
    tiny_cfg.MODEL.MODEL_NAME = "MViT"
    theirs, model = build_model(tiny_cfg), build_model(tiny_cfg)
    drawn(theirs).float()
    rules = (
        ("backbone.patch_embed.proj.", "backbone.patch_embed.projection."),
        ("backbone.norm.", "backbone.norm3."),
        ("head.", "cls_head.fc_cls."),
        ("cls_token", "backbone.cls_token"),
    )
    state = {}
    for name, tensor in theirs.state_dict().items():
        start, new = next(((old, new) for old, new in rules if name.startswith(old)), ("", ""))
        state[wrap + new + name.removeprefix(start)] = tensor
    report = load_weights(model, state | {f"{wrap}data_preprocessor.mean": torch.zeros(3)})
    assert (report.source, report.missing) == ("mmaction", ())
    assert "data_preprocessor." in report.unused[0]
    assert all(
        torch.equal(a, b) for a, b in zip(theirs.state_dict().values(), model.state_dict().values(), strict=True)
    )
    state[f"{wrap}backbone.pos_embed"] = torch.zeros(1)
    with pytest.raises(UserError, match="absolute positions"):
        load_weights(model, state)


class Recognizer(nn.Module):
    """MMAction2's STGCN (as PYSKL's) and GCNHead, of the class names that its files show."""

    def __init__(self, graph, width=4, factor=None):
        super().__init__()
        self.backbone, self.cls_head = nn.Module(), nn.Module()
        self.backbone.data_bn = nn.BatchNorm1d(3 * graph.shape[-1])
        self.backbone.gcn = nn.ModuleList()
        before, subsets = 3, len(graph)
        for number, scale in enumerate((1, 1, 1, 1, 2, 2, 2, 4, 4, 4)):
            after, block = width * scale, nn.Module()
            block.stride = 2 if number and after > before else 1
            block.gcn, block.tcn = nn.Module(), nn.Module()
            block.gcn.register_buffer("A", graph.clone())
            block.gcn.PA = nn.Parameter(torch.ones_like(graph))
            block.gcn.conv, block.gcn.bn = nn.Conv2d(before, after * subsets, 1), nn.BatchNorm2d(after)
            block.tcn.conv = nn.Conv2d(after, after, (9, 1), (block.stride, 1), (4, 0))
            block.tcn.bn = nn.BatchNorm2d(after)
            if number and before != after:
                block.residual = nn.Module()
                block.residual.conv = nn.Conv2d(before, after, 1, (block.stride, 1))
                block.residual.bn = nn.BatchNorm2d(after)
            self.backbone.gcn.append(block)
            before = after
        self.cls_head.fc = nn.Linear(before, CLASSES)

    def forward(self, x_NMTVC):
        persons = x_NMTVC.shape[1]
        n, _, t, v, c = x_NMTVC.shape
        x = x_NMTVC.flatten(0, 1).permute(0, 2, 3, 1).reshape(n * persons, v * c, t)
        x = self.backbone.data_bn(x).reshape(n * persons, v, c, t).permute(0, 2, 3, 1)
        for number, block in enumerate(self.backbone.gcn):
            values = block.gcn.conv(x).unflatten(1, (len(block.gcn.A), -1))
            out = torch.einsum("nkctv,kvw->nctw", values, block.gcn.A * block.gcn.PA)
            out = block.tcn.bn(block.tcn.conv(block.gcn.bn(out).relu()))
            if hasattr(block, "residual"):
                out = out + block.residual.bn(block.residual.conv(x))
            elif number:
                out = out + x
            x = out.relu()
        return self.cls_head.fc(x.mean((2, 3)).unflatten(0, (n, persons)).mean(1))


@pytest.fixture(scope="module")
def recognizer():
    model = drawn(Recognizer(Graph("coco17").adjacency("spatial_code")))
    for block in model.backbone.gcn:
        block.gcn.PA.data[block.gcn.A == 0] = 0.98  # weight decay
    return model


def authors(state):
    """The names of the authors' code, in which the head is a convolution."""
    names = {}
    for name, tensor in state.items():
        name = name.removeprefix("backbone.").removeprefix("cls_head.").replace("fc.", "fcn.")
        if name.startswith("gcn."):
            _, number, rest = name.split(".", 2)
            part, _, leaf = rest.rpartition(".")
            place = {"gcn.bn": "tcn.0", "tcn.conv": "tcn.2", "tcn.bn": "tcn.3", "residual.conv": "residual.0"}
            place |= {"residual.bn": "residual.1"}
            name = f"st_gcn_networks.{number}.{place.get(part, part)}.{leaf}"
            name = f"edge_importance.{number}" if leaf == "PA" else "A" if leaf == "A" else name
        names[name] = tensor[:, :, None, None] if name == "fcn.weight" else tensor
    return names


@pytest.mark.parametrize(
    "names",
    [
        dict,
        authors,
        lambda state: {f"backbone.{k}".replace("backbone.fcn.", "cls_head.fc."): v for k, v in authors(state).items()},
        lambda state: {k.replace("cls_head.fc.", "cls_head.fc_cls."): v for k, v in state.items()},
    ],
    ids=["mmaction 1", "authors", "mmaction 0", "pyskl"],
)
def test_stgcn_of_four_projects_gives_their_scores(recognizer, names):
    model = STGCN("coco17", "spatial_code", CLASSES, width=4).double().eval()
    report = load_weights(model, names(recognizer.state_dict()))
    assert (report.source, report.missing) == ("stgcn", ())
    assert all(name.rpartition(".")[2] == "A" for name in report.unused)
    joints = torch.randn(2, 2, 16, 17, 3, dtype=torch.float64)
    expected = recognizer(joints)
    assert expected.std() > 1e-6
    assert torch.allclose(model({"skeleton": joints.permute(0, 4, 2, 3, 1)}).logits, expected, rtol=1e-8, atol=1e-12)


def changed(state, part, make):
    return {name: make(tensor) if part in name else tensor for name, tensor in state.items()}


@pytest.mark.parametrize("partition", ["spatial", "uniform"])
def test_another_graph_is_refused(recognizer, partition):
    with pytest.raises(UserError, match=r"its graph is not that of.*STGCN\.PARTITION spatial_code"):
        load_weights(STGCN("coco17", partition, CLASSES, width=4), recognizer.state_dict())


def test_relatives_of_stgcn_are_refused(recognizer):
    model, state = STGCN("coco17", "spatial_code", CLASSES, width=4).double(), recognizer.state_dict()
    with pytest.raises(UserError, match="gcn_adaptive offset"):
        load_weights(model, changed(state, ".PA", torch.rand_like))
    with pytest.raises(UserError, match=r"STGCN\+\+"):
        load_weights(model, state | {"backbone.gcn.0.tcn.branches.0.0.weight": torch.zeros(1)})
    for strange in (lambda t: t.to_sparse(), lambda t: t.to("meta"), lambda t: t.long(), lambda t: t[:1]):
        for part in (".gcn.A", ".PA", "cls_head.fc.weight"):
            with pytest.raises(UserError):
                load_weights(model, changed(state, part, strange))
    without = {name: tensor for name, tensor in state.items() if not name.endswith((".A", ".PA"))}
    assert "the file holds no graph" in str(load_weights(model, without, ("blocks.",)))
    uniform = {name: tensor for name, tensor in state.items() if not name.endswith(".PA")}
    load_weights(model, uniform)
    assert model.blocks[3].spatial.importance.unique().tolist() == [1.0]
