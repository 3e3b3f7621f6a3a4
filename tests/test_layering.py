"""Who imports whom, read from the source: packages import only from lower levels, and small files stay small."""

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
    "explain": 3,
    "tasks": 4,
    "engine": 5,
    "report": 6,
    "inference": 7,
    "prepare": 7,
    "benchmark": 8,
    "doctor": 8,
    "tables": 8,
    "web": 8,
    "tools": 9,
}
# Packages on one level do not import each other, except that distillers compare model outputs.
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


def package_of(module):
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


def top_level(file):
    """Modules that a file imports when it is imported."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


MODULES = {module_of(file) for file in FILES}
# (file, module of ours it imports); "" is the package itself, which holds the version only.
OWN = {
    (file, module)
    for file in FILES
    for name in imported_by(file)
    for module in [name.removeprefix("transm3e").removeprefix(".") if name.startswith("transm3e") else name]
    if module in MODULES and module
}


def edges(*packages):
    return [(module_of(file), module) for file, module in sorted(OWN) if package_of(module_of(file)) in packages]


def test_every_package_has_a_level():
    assert {package_of(module) for module in MODULES if module} <= set(LEVELS)
    assert len(OWN) > 100


def test_no_package_imports_from_a_higher_level():
    upward = [(a, b) for a, b in edges(*LEVELS) if LEVELS[package_of(a)] < LEVELS[package_of(b)]]
    assert upward == []


def test_packages_on_one_level_do_not_import_each_other():
    beside = [
        (a, b)
        for a, b in edges(*LEVELS)
        if package_of(a) != package_of(b) and LEVELS[package_of(a)] == LEVELS[package_of(b)] > 0
    ]
    assert [(a, b) for a, b in beside if (package_of(a), b) not in BESIDE] == []
    assert beside, "the exception in BESIDE is no longer needed"


def test_nobody_imports_tools():
    assert [(a, b) for a, b in edges(*LEVELS) if package_of(b) == "tools" and package_of(a) != "tools"] == []


def test_only_tools_import_the_doctor():
    assert {package_of(a) for a, b in edges(*LEVELS) if b == "doctor"} <= {"tools"}
    # All else only within functions, so that it says what is wrong where a library is missing.
    top = {name for file in FILES if "doctor" in file.parts for name in top_level(file) if name.startswith("transm3e.")}
    assert {name.split(".")[1] for name in top} == {"doctor", "errors"}


def test_the_loading_path_alone_is_in_data():
    """What training never does is in prepare."""
    imported = {}
    for file, module in OWN:
        imported.setdefault(module_of(file), set()).add(module)
    reached, waiting = set(), ["tools.run_net"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            parents = {module.rpartition(".")[0]} & MODULES - {""}
            waiting.extend(imported.get(module, set()) | parents)
    assert {module for module in MODULES if package_of(module) == "data"} <= reached
    assert not {module for module in reached if package_of(module) in ("prepare", "tables", "benchmark")}


def test_models_import_no_losses_teachers_or_tasks():
    assert {package_of(b) for _, b in edges("models")} <= {
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


def test_distillers_import_losses_and_outputs_only():
    seen = {b for _, b in edges("distill") if package_of(b) != "distill"}
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
    """Only transm3e/runs and inference, which deal with a run as a whole, may take or keep a config elsewhere."""
    found = [entry for entry in methods_with_a_config() if entry[2] not in READS_CFG]
    assert [entry for entry in found if package_of(module_of(entry[0])) not in ("runs", "inference")] == []
    assert found, "the exception is no longer needed"


def test_the_engine_imports_no_method():
    """The engine trains a task: it imports no distiller, loss or layer, and of models only what all share."""
    seen = {b for _, b in edges("engine")}
    assert not {package_of(b) for b in seen} & {"distill", "losses", "layers"}
    assert {b for b in seen if package_of(b) == "models"} <= {"models.weights", "models.weights.files", "models.output"}
    assert {b for b in seen if package_of(b) == "tasks"} == {"tasks"}


@pytest.mark.parametrize("package", ["errors", "files", "joints", "modalities", "registry", "config", "cli"])
def test_packages_without_torch(package):
    files = [file for file in FILES if package_of(module_of(file)) == package]
    assert files
    heavy = {"torch", "torchvision", "numpy", "cv2", "av", "matplotlib"}
    assert [(file.name, name) for file in files for name in imported_by(file) if name.split(".")[0] in heavy] == []


def test_no_file_is_over_400_lines():
    assert [str(file) for file in FILES if len(file.read_text(encoding="utf-8").splitlines()) > 400] == []


def test_the_five_files_to_read_are_short_together():
    assert sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in READING_LIST) < 900
