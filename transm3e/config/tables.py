"""The tables of what each PROTOCOL sets, from the declarations of keys: python -m transm3e.config.tables makes the file."""

from __future__ import annotations

from collections.abc import Iterable

from transm3e.config.schema import KEYS, Key, choices, default_of

HEADER = """# What each PROTOCOL sets

Made from the declarations of the keys by `python -m transm3e.config.tables > configs/PROTOCOLS.md`.
A key that a file or the command line sets takes precedence over its protocol.
"""
ABOUT = {
    "authors_code": "Where the published code differs from the paper.",
    "pyslowfast": (
        "PySlowFast's defaults, and, for keys that it does not have, what its code does. Not set are keys of where and how a "
        "run computes or what it writes, such as OUTPUT_DIR."
    ),
}


def protocol_tables() -> str:
    """Markdown with a table for each protocol but the first, whose values are the defaults."""
    ours, *others = choices("PROTOCOL")
    return "\n".join([HEADER, *(line for name in others for line in _table(name, ours))])


def _table(protocol: str, ours: str) -> Iterable[str]:
    yield f"## {protocol}\n\n{ABOUT[protocol]}\n"
    yield f"| key | {ours} | {protocol} | |\n|---|---|---|---|"
    for each in KEYS.values():
        if (value := default_of(each, protocol)) != each.default:
            yield f"| `{each.name}` | `{_short(each.default)}` | `{_short(value)}` | {_note(each, protocol)} |"
    yield ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]} ...]"


def _note(each: Key, protocol: str) -> str:
    return each.authors.source if protocol == "authors_code" and each.authors else ""


if __name__ == "__main__":
    import transm3e.config  # noqa: F401 (declares the keys)

    print(protocol_tables(), end="")
