"""Untrusted YAML: plain values only, with limits on size and depth.

An alias (*a) repeats everything that its anchor (&a) holds, so thirty lines of aliases can exceed any memory. Sizes are
therefore counted with every alias expanded, before any value is built.
"""

from __future__ import annotations

from typing import Any

import yaml

from transm3e.errors import UserError

# Characters, values with aliases expanded, and levels: many times those of any config or table of ours.
MAX_TEXT = 1 << 18
MAX_VALUES = 20_000
MAX_DEPTH = 32
# Of a number in the text; the largest float has 309 digits.
MAX_DIGITS = 400
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# PyYAML's errors, and those that it passes on for malformed values ("2024-13-45", "!!bool x") and endless nesting.
YAML_ERRORS = (
    *(yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError),
    RecursionError,
)


def parse_yaml(text: str, where: str, twice: list[str] | None = None) -> Any:
    """The value of YAML text with one document of plain values; None for an empty one.

    Args:
        text: the YAML.
        where: names it in messages.
        twice: the first key given twice with different values is appended here, and the last of them counts; None = it
            is refused.

    Raises:
        UserError: not YAML or not plain values, larger or deeper than the limits above, or a key is given twice with
            different values, of which YAML would drop one; the message begins with `where`.
    """
    if len(text) > MAX_TEXT:
        raise UserError(f"{where}: {len(text)} characters of YAML; allowed: {MAX_TEXT}; is it the right file?")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            # Before values are built, because that copies merged mappings (<<) into the nodes.
            weighing = _Weighing()
            weighing.weigh(node, "")
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except YAML_ERRORS as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{where}: not a YAML file of plain values ({reason})") from error
    if weighing.twice and twice is not None:
        twice.append(weighing.twice)
    elif weighing.twice:
        raise UserError(f"{where}: {weighing.twice} is given twice with different values; remove one of them")
    return value


class _Weighing:
    """Measures the nodes of a document, each once however many aliases refer to it.

    Attributes:
        twice: dotted name of the first key given twice with different values; "" for none.
    """

    def __init__(self) -> None:
        self.twice = ""
        # id of a node -> values in it, levels, and an id of its content; None while it is being measured.
        self._known: dict[int, tuple[int, int, int] | None] = {}
        self._contents: dict[Any, int] = {}

    def weigh(self, node: yaml.Node, prefix: str) -> tuple[int, int, int]:
        """Number of values, levels and content id of a node.

        Raises:
            ValueError: a limit is exceeded, or a node contains itself.
        """
        if id(node) in self._known:
            known = self._known[id(node)]
            if known is None:
                raise ValueError("an alias within its own anchor")
            return known
        self._known[id(node)] = None
        children = self._children(node, prefix)
        values, depth = 1 + sum(child[0] for child in children), 1 + max((child[1] for child in children), default=0)
        if values > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError(
                f"more than {MAX_VALUES} values, with aliases expanded"
                if values > MAX_VALUES
                else f"nested deeper than {MAX_DEPTH} levels"
            )
        content = (node.tag, node.value if isinstance(node, yaml.ScalarNode) else tuple(child[2] for child in children))
        self._known[id(node)] = weight = (values, depth, self._contents.setdefault(content, len(self._contents)))
        return weight

    def _children(self, node: yaml.Node, prefix: str) -> list[tuple[int, int, int]]:
        if isinstance(node, yaml.MappingNode):
            return self._pairs(node, prefix)
        if isinstance(node, yaml.SequenceNode):
            return [self.weigh(child, prefix) for child in node.value]
        if node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
            raise ValueError(f"a number of {len(node.value)} digits")
        return []

    def _pairs(self, node: yaml.MappingNode, prefix: str) -> list[tuple[int, int, int]]:
        weights: list[tuple[int, int, int]] = []
        seen: dict[Any, int] = {}
        for key, value in node.value:
            name = f"{prefix}{key.value[:80] if isinstance(key, yaml.ScalarNode) else 'a key'}"
            weights += [self.weigh(key, prefix), self.weigh(value, f"{name[-400:]}.")]
            same = key.value if isinstance(key, yaml.ScalarNode) else weights[-2][2]
            if seen.setdefault(same, weights[-1][2]) != weights[-1][2]:
                self.twice = self.twice or name
        return weights
