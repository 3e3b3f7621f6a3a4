"""The report of a check as a folder: report.md with its figures, problems.csv, notes.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from transm3e.data.annotations import SPLITS
from transm3e.errors import UserError
from transm3e.files import atomic_write_text
from transm3e.prepare.check.figures import FIGURES, draw_dataset, figures_of
from transm3e.prepare.check.finding import KINDS, Finding, refuse_foreign, write_report
from transm3e.prepare.check.labels import label_statistics, muscles_of, split_counts
from transm3e.prepare.check.table import Checked
from transm3e.prepare.check.video import VideoFacts

MARK = "<!-- made by datasets/check_dataset.py, which writes it anew -->"
REPORT, PROBLEMS, NOTES, CACHE = "report.md", "problems.csv", "notes.csv", "files.jsonl"
SHOWN = 25  # findings of a kind; the CSV files hold all
DEPTH = {
    "none": "Only the existence of files was checked. Frames, lengths and duplicates take --decode first or all.",
    "first": "Each file was opened, its packets listed, a frame decoded. Damage in the middle of a file and "
    "near-duplicates are found with --decode all only.",
    "all": "Every frame was decoded.",
}

ODD: dict[str, Callable[[VideoFacts], bool]] = {
    "fewer than 10 frames/s": lambda facts: 0 < facts.rate < 10,
    "more than 100 frames/s": lambda facts: facts.rate > 100,
    "variable frame rate": lambda facts: facts.variable,
    "short side below 128 pixels": lambda facts: 0 < min(facts.width, facts.height) < 128,
    "portrait (higher than wide)": lambda facts: facts.height > facts.width,
    "turned by rotation metadata": lambda facts: facts.rotation != 0,
    "mirrored by metadata": lambda facts: facts.mirrored,
    "pixels that are not square, read as if they were": lambda facts: abs(facts.pixel_aspect - 1) > 0.01,
    "HDR (PQ or HLG), read without tone mapping": lambda facts: facts.hdr,
}
QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


def make_report_folder(folder: str | Path) -> Path:
    """Make a folder for a report, or reuse one that holds nothing else.

    Raises:
        UserError: it cannot be made, or holds files that are not a report's.
    """
    out = Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = {file.name for file in out.iterdir()} - {REPORT, PROBLEMS, NOTES, *FIGURES}
        foreign = sorted(name for name in names if not name.startswith(CACHE))
    except OSError as error:
        raise UserError(f"cannot make {out}: {error.strerror}; choose another --out") from error
    if foreign:
        raise UserError(f"{out} holds other files ({foreign[0]}); choose a new or empty folder as --out")
    refuse_foreign(out / REPORT, MARK)
    return out


def write_dataset_report(folder: str | Path, name: str, checked: Checked) -> Path:
    """Write the report of a check; returns the path of report.md, which is written last.

    Args:
        folder: to write into, see make_report_folder.
        name: of the data set, for the heading.
        checked: what was found.

    Raises:
        UserError: the folder cannot be used, or a file cannot be written.
    """
    out = make_report_folder(folder)
    write_report(out / PROBLEMS, checked.problems)
    write_report(out / NOTES, checked.notes)
    draw_dataset(checked.table, out)
    atomic_write_text(out / REPORT, report_text(name, checked))
    return out / REPORT


def report_text(name: str, checked: Checked) -> str:
    """The report as Markdown: problems first, then notes, videos and labels."""
    verdict = f"**{len(checked.problems)} problems**" if checked.problems else "**No problem**"
    lines = [MARK, f"# Check of {_code(name)}", ""]
    lines += [f"{verdict} and {len(checked.notes)} notes in {len(checked.table)} clips. {DEPTH[checked.decode]}"]
    lines += ["", "## Problems", "", *_findings(checked.problems, PROBLEMS)]
    lines += ["## Notes", "", *_findings(checked.notes, NOTES)]
    lines += ["## Videos", "", *_videos(checked)]
    lines += ["## Labels", "", *_labels(checked)]
    return "\n".join(lines)


def _findings(findings: Sequence[Finding], file: str) -> Iterator[str]:
    if not findings:
        yield from ("None.", "")
    for kind, title in KINDS.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        if of_kind:
            yield from (f"### {title} ({len(of_kind)})", "")
            yield from (_line(finding) for finding in of_kind[:SHOWN])
            more = len(of_kind) - SHOWN
            yield from ([f"- and {more} more, see [{file}]({file})", ""] if more > 0 else [""])


def _line(finding: Finding) -> str:
    where = ", ".join(part for part in (finding.split, finding.path and _code(finding.path)) if part)
    return f"- {where}: {_plain(finding.reason)}" if where else f"- {_plain(finding.reason)}"


def _videos(checked: Checked) -> Iterator[str]:
    videos = checked.videos
    known = _quantities(videos)
    if not known:
        yield from ("No video was opened, so nothing is known about them.", "")
        return
    rows = {name: [f"{value:.4g}" for value in values] for name, values in known.items()}
    yield from _table("", list(QUANTILES), rows)
    codecs = Counter(facts.codec for facts in videos if facts.codec).most_common()
    yield from _table("codec", ["videos"], {name: [str(count)] for name, count in codecs})
    odd = {name: [str(sum(map(is_odd, videos)))] for name, is_odd in ODD.items()}
    yield from _table("out of the ordinary", ["videos"], odd)


def _quantities(videos: Sequence[VideoFacts]) -> dict[str, list[float]]:
    """Quantiles (as QUANTILES) of frames, seconds, frame rates, short sides and sizes of the videos that could be read."""
    good = [facts for facts in videos if facts.codec]
    values = {
        "frames": [facts.frames for facts in good],
        "seconds": [facts.seconds for facts in good if facts.seconds],
        "frames/s": [facts.rate for facts in good if facts.rate],
        "short side in pixels": [min(facts.width, facts.height) for facts in good],
        "megabytes": [facts.size / 1e6 for facts in good],
    }
    shares = list(QUANTILES.values())
    return {name: np.quantile(np.array(some, float), shares).tolist() for name, some in values.items() if some}


def _labels(checked: Checked) -> Iterator[str]:
    counts = {name: [str(n) for n in values] for name, values in split_counts(checked.table).items()}
    yield from _table("", SPLITS, {name: counts[name] for name in ("clips", "activities")})
    muscles = muscles_of(checked.table)
    if muscles:
        yield from _table("clips that carry", SPLITS, {muscle: counts[muscle] for muscle in muscles})
    for file, title in figures_of(checked.table).items():
        yield from (f"### {title}", "", f"![{title}]({file})", "")
    statistics = label_statistics(checked.table)
    rows = {
        _code(str(statistics.activities[i])): [
            str(statistics.clips[i]),
            "new" if statistics.new[i] else "known",
            *_carried(muscles, statistics.labels[i]),
        ]
        for i in sorted(range(len(statistics.clips)), key=lambda i: -statistics.clips[i])
    }
    header = ("clips", "kind", "muscles") if muscles else ("clips", "kind")
    yield from ("### Activities", "", *_table("activity", header, rows))


def _carried(muscles: Sequence[str], carried: Iterable[bool]) -> list[str]:
    """The muscles of an activity in one cell; no cell if the table has no muscles."""
    names = ", ".join(muscle for muscle, here in zip(muscles, carried, strict=True) if here)
    return [names or "none"] if muscles else []


def _table(corner: str, header: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"| {corner} | {' | '.join(header)} |"
    yield "|---" * (len(header) + 1) + "|"
    for name, values in rows.items():
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (name, *values)) + " |"
    yield ""


def _code(text: str) -> str:
    """A name as Markdown shows it unchanged."""
    shown = text.replace("\n", " ")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def _plain(text: str) -> str:
    """A sentence with Markdown's special characters escaped."""
    return "".join(f"\\{sign}" if sign in r"\`*_[]<>|#" else sign for sign in text.replace("\n", " "))
