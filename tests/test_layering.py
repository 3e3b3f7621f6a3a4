"""Who imports whom, read from the source: rooms only look down, and small files stay small."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "transm3e").rglob("*.py"), *(ROOT / "tools").rglob("*.py")])
LEVELS = {
    "downloads": 0,
    "errors": 0,
    "files": 0,
    "foreign": 0,
    "joints": 0,
    "progress": 0,
    "registry": 0,
    "unpickle": 0,
    "config": 0,
    "cli": 0,
    "modalities": 0,
    "data": 1,
    "layers": 1,
    "losses": 1,
    "metrics": 1,
    "models": 2,
    "distill": 2,
    "runs": 3,
    "tasks": 4,
    "engine": 5,
    "report": 6,
    "prepare": 7,
    "benchmark": 8,
    "doctor": 8,
    "tables": 8,
    "job_array": 9,
    "tools": 9,
}
# Rooms on one level do not know each other, but distillers compare what every model returns.
BESIDE = {("distill", "models.output")}
READING_LIST = (
    "tools/run_net.py",
    "transm3e/engine/train.py",
    "transm3e/tasks/distill.py",
    "transm3e/models/transm3e.py",
    "transm3e/data/dataset.py",
)


def module_of(file):
    """transm3e/models/mvit.py -> "models.mvit"; tools/run_net.py -> "tools.run_net"."""
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts[1:] if parts[0] == "transm3e" else parts)


def room_of(module):
    return module.split(".")[0]


def imported_by(file):
    """Every module a file imports, also within functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = {module_of(file) for file in FILES}
# (file, module of ours it imports); "" is the package itself, which holds the version only.
OWN = {
    (file, module)
    for file in FILES
    for name in imported_by(file)
    for module in [name.removeprefix("transm3e").removeprefix(".") if name.startswith("transm3e") else name]
    if module in MODULES and module
}


def edges(*rooms):
    return [(module_of(file), module) for file, module in sorted(OWN) if room_of(module_of(file)) in rooms]


def test_every_room_has_a_level():
    assert {room_of(module) for module in MODULES if module} <= set(LEVELS)
    assert len(OWN) > 100


def test_nobody_imports_upward():
    upward = [(a, b) for a, b in edges(*LEVELS) if LEVELS[room_of(a)] < LEVELS[room_of(b)]]
    assert upward == []


def test_rooms_on_one_level_do_not_know_each_other():
    beside = [
        (a, b) for a, b in edges(*LEVELS) if room_of(a) != room_of(b) and LEVELS[room_of(a)] == LEVELS[room_of(b)] > 0
    ]
    assert [(a, b) for a, b in beside if (room_of(a), b) not in BESIDE] == []
    assert beside, "the exception in BESIDE is no longer needed"


def test_nobody_imports_tools():
    assert [(a, b) for a, b in edges(*LEVELS) if room_of(b) == "tools" and room_of(a) != "tools"] == []


def test_only_tools_import_the_doctor():
    assert {room_of(a) for a, b in edges(*LEVELS) if b == "doctor"} <= {"tools"}
    assert {b for _, b in edges("doctor")} <= {"doctor", "data.decode", "data.encode"}  # it writes and reads a video


def test_the_loading_path_alone_is_in_data():
    """Whatever training never does is in prepare."""
    imported = {}
    for file, module in OWN:
        imported.setdefault(module_of(file), set()).add(module)
    reached, waiting = set(), ["tools.run_net"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            packages = {module.rpartition(".")[0]} & MODULES - {""}
            waiting.extend(imported.get(module, set()) | packages)
    assert {module for module in MODULES if room_of(module) == "data"} <= reached
    assert not {module for module in reached if room_of(module) in ("prepare", "tables", "benchmark")}


def test_models_see_no_losses_teachers_or_tasks():
    assert {room_of(b) for _, b in edges("models")} <= {
        "models",
        "layers",
        "config",
        "errors",
        "files",
        "modalities",
        "foreign",
        "joints",
        "registry",
        "unpickle",
    }


def test_distillers_see_losses_and_outputs_only():
    seen = {b for _, b in edges("distill") if room_of(b) != "distill"}
    assert seen <= {"models.output", "losses", "registry", "errors", "config", "config.schema"}


READS_CFG = {"from_cfg", "modalities_of", "has_receivers", "check", "warnings_of"}


def methods_with_a_config():
    """(file, class, method) of methods that take a config, and of attributes that are one."""
    for file in FILES:
        classes = [
            node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)
        ]
        for of in classes:
            for node in of.body:
                if isinstance(node, ast.AnnAssign) and "CfgNode" in ast.unparse(node.annotation):
                    yield file, of.name, ast.unparse(node.target)
                if isinstance(node, ast.FunctionDef):
                    every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                    if any(a.arg.endswith("cfg") or "CfgNode" in ast.unparse(a.annotation or a) for a in every):
                        yield file, of.name, node.name


def test_objects_take_plain_arguments_and_keep_no_config():
    """Only what deals with a run as a whole, in transm3e/runs, takes or keeps a config otherwise."""
    found = [place for place in methods_with_a_config() if place[2] not in READS_CFG]
    assert [place for place in found if room_of(module_of(place[0])) != "runs"] == []
    assert found, "the exception is no longer needed"


def test_the_engine_knows_no_method():
    """What is trained stands behind a task: the engine sees no distiller, loss or layer, and of models what all share."""
    seen = {b for _, b in edges("engine")}
    assert not {room_of(b) for b in seen} & {"distill", "losses", "layers"}
    assert {b for b in seen if room_of(b) == "models"} <= {"models.weights", "models.weights.files", "models.output"}
    assert {b for b in seen if room_of(b) == "tasks"} == {"tasks"}


@pytest.mark.parametrize("room", ["errors", "files", "joints", "modalities", "registry", "config", "cli"])
def test_the_ground_floor_needs_no_torch(room):
    files = [file for file in FILES if room_of(module_of(file)) == room]
    assert files
    heavy = {"torch", "torchvision", "numpy", "cv2", "av", "matplotlib"}
    assert [(file.name, name) for file in files for name in imported_by(file) if name.split(".")[0] in heavy] == []


def test_no_file_is_over_400_lines():
    assert [str(file) for file in FILES if len(file.read_text(encoding="utf-8").splitlines()) > 400] == []


def test_the_five_files_to_read_are_short_together():
    assert sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in READING_LIST) < 900
