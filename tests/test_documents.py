"""Documents lead where they say: links, anchors, scripts, configs, make targets, keys; the README stays short."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from transm3e.config import get_cfg

REPO = Path(__file__).parents[1]
DOCUMENTS = sorted(p for p in (*REPO.glob("*.md"), *REPO.glob("[a-z]*/**/*.md")) if "runs" not in p.parts)
LINK = re.compile(r"(?<!!)!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", flags=re.M | re.S)


def prose(path):
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """As GitHub makes them of headings: lower case, punctuation dropped, spaces to hyphens."""
    titles = re.findall(r"^#+ (.*)$", prose(path), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).strip().replace(" ", "-") for title in titles}


def broken(path):
    for target in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists():
            yield f"{target}: no such file"
        elif fragment and (there.suffix != ".md" or fragment not in anchors(there)):
            yield f"{target}: no such heading"


def test_links_and_anchors_exist():
    assert len(DOCUMENTS) >= 8
    found = {p.relative_to(REPO).as_posix(): list(broken(p)) for p in DOCUMENTS}
    assert {document: faults for document, faults in found.items() if faults} == {}


def commands(path):
    """Indented lines and fenced lines that call a script, a module or make; continuation lines joined."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        match = re.match(r"(?:    )?((?:python|make|torchrun|sbatch) .*)", line)
        if match and (line.startswith("    ") or "```" in text):
            yield match.group(1)


def wrong(command):
    words = shlex.split(command, comments=True)
    for word in words:
        if (
            re.fullmatch(r"(tools|datasets)/[\w/]+\.(py|sh|sbatch)|configs/[\w/]+\.yaml", word)
            and not (REPO / word).exists()
        ):
            yield f"no file {word}"
    if (
        words[0] == "make"
        and len(words) > 1
        and not re.search(rf"^{re.escape(words[1])}:", (REPO / "Makefile").read_text(), re.M)
    ):
        yield f"no target {words[1]}"
    if words[:2] == ["python", "-m"] and words[2].startswith("transm3e"):
        module = REPO / words[2].replace(".", "/")
        if not (module.with_suffix(".py").exists() or (module / "__main__.py").exists()):
            yield f"no module {words[2]}"
    if "tools/run_net.py" in words:
        yield from (f"no key {word}" for word in words if is_key(word) and not known(word))


def is_key(word):
    return re.fullmatch(r"[A-Z][A-Z0-9]+(\.[A-Z0-9_]+)+", word) is not None


def known(key):
    node = get_cfg()
    for part in key.split("."):
        if part not in node:
            return False
        node = node[part]
    return True


def test_commands_name_what_exists():
    found = {f"{p.relative_to(REPO)}: {c}": list(wrong(c)) for p in DOCUMENTS for c in commands(p)}
    assert len(found) > 40
    assert {command: faults for command, faults in found.items() if faults} == {}


def test_keys_in_the_text_exist():
    """`GROUP.KEY` in backticks, of groups that are ours."""
    groups = {name for name, value in get_cfg().items() if isinstance(value, dict)}
    for path in DOCUMENTS:
        if path.name == "CHANGELOG.md":  # names keys of its time
            continue
        keys = re.findall(r"`([A-Z][A-Z0-9]+\.[A-Z0-9_]+)\b", prose(path))
        assert [key for key in keys if key.split(".")[0] in groups and not known(key)] == [], path


def test_readme_is_one_screen_per_question():
    lines = (REPO / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150
    assert (REPO / "datasets" / "teaser.gif").stat().st_size < 2_000_000
