"""PySlowFast's own config files: how they are recognised, and what in them means something else than the same keys here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transm3e.config.pyslowfast import BUILT_HERE, DEFAULTS, GROUPS
from transm3e.config.schema import KEYS, default_of, differs_there
from transm3e.errors import UserError

PROTOCOL = "pyslowfast"
# Where a setting is made, its key and its value, as in transm3e.config.node.
Setting = tuple[str, str, object]
# Keys that every one of its files has besides those that mean nothing here, and that ours do not have.
MARKS = ("MODEL.ARCH", "DATA.INPUT_CHANNEL_NUM", "RESNET.TRANS_FUNC")
# Keys of ours alone, of which its files have none.
OURS = ("_BASE_", "PROTOCOL", "INIT", "IMPORTS")
# TRAIN.DATASET -> what its loader of that dataset, which reads images, does: it takes frames of equal parts of the video, or
# frames by stride in views that reach the end, as ours.
LOADERS = {
    "ssv2": {"DATA.FRAME_INDICES": "segments"},
    "charades": {name: KEYS[name].default for name in ("DATA.FRAME_INDICES", "TEST.VIEWS_FROM")},
}
BGR = "DATA.REVERSE_INPUT_CHANNEL"


def is_foreign(names: Sequence[str]) -> bool:
    """Whether a file with these dotted keys is PySlowFast's: it has its groups, and none of our own names."""
    top = {name.partition(".")[0] for name in names}
    marked = any(name in MARKS or name.partition(".")[0] in GROUPS.split() for name in names)
    return {"DATA", "MODEL"} <= top and marked and not top & set(OURS)


def as_read_here(settings: Sequence[Setting], protocol: str) -> tuple[list[Setting], str]:
    """A foreign file's settings in our terms, and a warning of what changed; "" for nothing.

    Its loaders of images read BGR, so the key that reverses channels makes RGB of it; ours always reads RGB.
    """
    given = {key: value for _, key, value in settings}
    dataset = str(given.get("TRAIN.DATASET", ""))
    if dataset not in LOADERS or not settings:
        return list(settings), ""
    file, reverse = settings[0][0], str(given.get(BGR, False)) == "True"
    kept, changed = [each for each in settings if each[1] != BGR], {}
    if BGR in given or protocol == PROTOCOL:
        changed[BGR] = not reverse
    if protocol == PROTOCOL:
        changed.update({key: value for key, value in LOADERS[dataset].items() if key not in given})
    if not changed:
        return kept, ""
    told = ", ".join(f"{key} {value}" for key, value in changed.items())
    why = f"{file}: TRAIN.DATASET {dataset} has a loader of its own in PySlowFast, which reads images as BGR: read as {told}"
    return [*kept, *((file, key, value) for key, value in changed.items())], why


def check_network(settings: Sequence[Setting], where: str) -> None:
    """Refuse a foreign file that leaves out what only another default of PySlowFast's would make another network.

    Raises:
        UserError: names the key.
    """
    given = {key: value for _, key, value in settings}
    if given.get("MODEL.MODEL_NAME") != "MViT":
        return
    for key, value in DEFAULTS.items():
        if key not in given:
            raise UserError(
                f"{where}: {key} is not set, which is {value} in PySlowFast, but only {BUILT_HERE[key]} is implemented; "
                "this is MViTv1, use a config of MViTv2"
            )


def protocol_warning(where: str, settings: Sequence[Setting], reads: Callable[[str], bool]) -> str:
    """What PROTOCOL pyslowfast would change in a foreign file that names no protocol; "" for nothing.

    Args:
        where: the file.
        settings: of the file and the command line.
        reads: whether the file's model reads a key of models.
    """
    given = {key for _, key, _ in settings}
    left = [each for each in KEYS.values() if each.name not in given and differs_there(each)]
    left = [each for each in left if not each.facts.of_model or reads(each.name)]
    told = ", ".join(f"{each.name} {default_of(each, PROTOCOL)} ({each.default})" for each in left)
    return (
        f"{where} is a config of PySlowFast and leaves keys out whose defaults differ; PROTOCOL {PROTOCOL} takes its own, "
        f"PROTOCOL paper keeps ours and this quiet. There (here): {told}"
        if told
        else ""
    )
