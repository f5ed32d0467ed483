"""A job's report as one HTML file: no scripts, nothing from elsewhere, light and dark, readable by ear and by keyboard."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, TextIO

from core import hints
from scripts.dump import one_line, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inventory.report import Report
    from scripts.report import Witnesses

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --bad: #b3261e; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7fd8a0; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } thead th { position: sticky; top: 0; background: Canvas; }
.path { overflow-wrap: anywhere; font-family: ui-monospace, monospace; } .bad { color: var(--bad); } .good { color: var(--good); }
.wide { overflow-x: auto; } a:focus-visible, .wide:focus-visible { outline: 3px solid Highlight; }
"""
_FILE_COLUMNS = ("path", "state", "size", "load_finish", "load_seconds", "load_pod", "verify_finish", "verify_seconds",
                 "verify_result", "checksum", "error", "message")  # fmt: skip
_NUMBERS = frozenset({"size", "load_seconds", "verify_seconds"})


def write_html(report: Report, witnesses: Witnesses, out: TextIO) -> None:
    """Write the report as a stream."""
    from scripts.report import checks_of, head_of

    job = escape(report.job.name)
    out.write('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n')
    out.write('<meta name="viewport" content="width=device-width, initial-scale=1">\n')
    out.write(
        f"<title>Ingest report of {job}</title>\n<style>{_STYLE}</style></head>\n<body><main>\n<h1>Ingest report of {job}</h1>\n"
    )
    out.write(
        '<p><a href="#failures">Failures</a> · <a href="#files">Files</a> · <a href="#counts">Do the counts agree?</a></p>\n'
    )
    _table(out, "The job", ("what", "value"), ((key, value) for key, value in head_of(report).items()))
    files, size = report.total()
    states = [(count.state, count.files, count.bytes) for count in report.counts]
    _table(out, "Files by state", ("state", "files", "bytes"), [*states, ("total", files, size)])
    out.write('<h2 id="failures">Failures</h2>\n')
    _table(
        out,
        "By class" if report.groups else "Nothing failed",
        ("class", "stage", "dead", "retrying", "skipped", "recovered", "directories", "means", "do", "example"),
        (
            (g.error, g.stage, g.dead, g.retrying, g.skipped, g.recovered, g.directories, *hints.advice(g.error),
             "; ".join(f"{path}: {message}" for path, message in g.examples))
            for g in report.groups
        ),
    )  # fmt: skip
    out.write('<h2 id="files">Files</h2>\n')
    _table(out, "Every file", _FILE_COLUMNS, (_cells(row_of(line)) for line in report.files()))
    out.write('<h2 id="counts">Do the counts agree?</h2>\n')
    checks = checks_of(report, witnesses)
    agree = all(check["agrees"] for check in checks)
    words = "All counts agree." if agree else "The counts do not agree: `ingest audit` says where."
    out.write(f'<p class="{"good" if agree else "bad"}"><strong>{words}</strong></p>\n')
    _table(
        out,
        "Counts",
        ("what", "files", "bytes", "against", "files", "bytes", "agree"),
        ([*list(check.values())[:-1], "yes" if check["agrees"] else "NO"] for check in checks),
    )
    for what, why in witnesses.unasked.items():
        out.write(f"<p>{escape(what)}: {escape(why)}.</p>\n")
    if witnesses.catalogue is not None:
        rows = [(name, count, held) for name, (count, held) in sorted(witnesses.catalogue.items())]
        _table(out, "Good replicas in iRODS by resource", ("resource", "replicas", "bytes"), rows)
    out.write("</main></body></html>\n")


def _cells(row: dict[str, object]) -> list[object]:
    return [f"{row[key]:.3f}" if isinstance(row[key], float) else row[key] for key in _FILE_COLUMNS]


def _table(out: TextIO, caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    label = escape(caption)
    out.write(
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table><caption>{label}</caption>\n<thead><tr>'
    )
    out.write("".join(f'<th scope="col">{escape(column)}</th>' for column in columns) + "</tr></thead>\n<tbody>\n")
    for row in rows:
        out.write(
            "<tr>" + "".join(_cell(column, value) for column, value in zip(columns, row, strict=True)) + "</tr>\n"
        )
    out.write("</tbody></table></div>\n")


def _cell(column: str, value: object) -> str:
    if isinstance(value, int) or column in _NUMBERS:
        return f'<td class="n">{"" if value is None else value}</td>'
    text = escape("" if value is None else one_line(str(value)))
    if column in ("path", "checksum", "example"):
        return f'<td class="path">{text}</td>'
    return f'<td class="bad">{text}</td>' if text in ("dead", "NO") else f"<td>{text}</td>"
