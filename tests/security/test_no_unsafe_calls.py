"""A check of the source: no call can run code from a file; each exception is listed here with its reason."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for folder in ("transm3e", "tools", "datasets") for file in (ROOT / folder).rglob("*.py"))
# Modules that take other objects out of pickles than transm3e.unpickle does.
PICKLES = {
    "transm3e/unpickle.py": "the reader of pickles of data",
    "transm3e/data/forking.py": "what this program gives to processes that it has started, in nameless memory",
    "transm3e/data/workers.py": "answers of processes that this one has started, through their pipes",
}
READERS_OF_PICKLES = {"load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"}
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
SAFE_YAML = {"safe_load", "SafeLoader", "CSafeLoader", "safe_dump", "dump", "serialize"}
SAFE_YAML |= {"Node", "ScalarNode", "MappingNode", "SequenceNode", "YAMLError"}
STARTERS = {"run", "call", "check_call", "check_output", "Popen"}


def dotted(node):
    """ "torch.load" of the expression torch.load; "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value) or '?'}.{node.attr}"
    return ""


def keyword(call, name):
    """The constant given for a keyword, None where it is absent; ... where it is no constant."""
    found = next((each.value for each in call.keywords if each.arg == name), None)
    return None if found is None else found.value if isinstance(found, ast.Constant) else ...


def unsafe(source, name):
    """(line, what is wrong) of everything in a module that could run what a file says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, wrong) for wrong in unsafe_call(node))
        foreign = isinstance(node, ast.Attribute) and dotted(node).split(".")[0] in MODULES and name not in PICKLES
        if foreign and node.attr in READERS_OF_PICKLES:
            yield node.lineno, f"{dotted(node)}: read pickles with transm3e.unpickle.read_pickle"
        if isinstance(node, ast.ImportFrom) and node.module in MODULES | {"yaml"}:
            names = {alias.name for alias in node.names}
            allowed = {"UnpicklingError"} if node.module in MODULES else SAFE_YAML
            if names - allowed and name not in PICKLES:
                yield node.lineno, f"from {node.module} import {', '.join(names - allowed)}: import the module instead"
        if isinstance(node, ast.Attribute) and dotted(node.value) == "yaml" and node.attr not in SAFE_YAML:
            yield node.lineno, f"yaml.{node.attr}: read YAML with transm3e.foreign.yaml_text.parse_yaml"


def unsafe_call(call):
    name = dotted(call.func)
    if name in ("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"):
        yield f"{name}(): runs text"
    if name in ("os.system", "os.popen", "commands.getoutput", "subprocess.getoutput", "subprocess.getstatusoutput"):
        yield f"{name}(): runs a shell; use subprocess.run with a list of words"
    if name.split(".")[-1] in STARTERS and keyword(call, "shell") not in (None, False):
        yield f"{name}(shell=...): runs a shell; give a list of words"
    if name == "torch.load" and keyword(call, "weights_only") is not True:
        yield "torch.load without weights_only=True: runs what the file says; use transm3e.foreign.torch_file.load_torch"
    if name in ("np.load", "numpy.load"):
        yield f"{name}: takes the memory that a header claims; use transm3e.foreign.npz.Archive"
    if keyword(call, "allow_pickle") not in (None, False):
        yield f"{name}(allow_pickle=...): runs what the file says"


def test_no_call_runs_code_from_a_file():
    found = []
    for file in FILES:
        name = file.relative_to(ROOT).as_posix()
        found += [f"{name}:{line}: {wrong}" for line, wrong in unsafe(file.read_text(encoding="utf-8"), name)]
    assert not found, "\n".join(found)


def test_torch_load_is_called_in_one_place_only():
    holders = [file for file in FILES if "torch.load(" in file.read_text(encoding="utf-8")]
    assert [file.relative_to(ROOT).as_posix() for file in holders] == ["transm3e/foreign/torch_file.py"]


def test_every_exception_is_still_needed():
    for name in PICKLES:
        assert list(unsafe((ROOT / name).read_text(encoding="utf-8"), "other")), f"{name} needs no exception any more"


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(f)",
        "pickle.loads(b)",
        "class A(pickle.Unpickler): pass",
        "from pickle import loads",
        "joblib.load(f)",
        "marshal.loads(b)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=flag)",
        "np.load(f, allow_pickle=True)",
        "numpy.load(f)",
        "np.lib.format.read_array(f, allow_pickle=True)",
        "yaml.load(t)",
        "yaml.load(t, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(t)",
        "yaml.UnsafeLoader(t)",
        "from yaml import load",
        "eval(t)",
        "exec(t)",
        "os.system(t)",
        "os.popen(t)",
        "subprocess.run(t, shell=True)",
        "subprocess.Popen(t, shell=flag)",
        "Popen(t, shell=1)",
    ],
)
def test_unsafe_calls_are_found(line):
    assert list(unsafe(line, "transm3e/other.py")), line


@pytest.mark.parametrize(
    "line",
    [
        "pickle.dumps(x)",
        "torch.load(f, weights_only=True)",
        "model.eval()",
        "re.compile(t)",
        "yaml.SafeLoader(t)",
        "ast.literal_eval(t)",
        "subprocess.run([a, b])",
        "from pickle import UnpicklingError",
    ],
)
def test_harmless_calls_pass(line):
    assert not list(unsafe(line, "transm3e/other.py")), line
