"""The HTML page: one file, its pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; } p { max-width: 46rem; } p.note { color: #666; font-size: .9rem; }
"""


@dataclass(frozen=True)
class Section:
    """text: paragraphs. table: its first row is the head. pictures: (what it shows, SVG)."""

    title: str
    text: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()
    pictures: Sequence[tuple[str, bytes]] = field(default=(), repr=False)


def page(title: str, sections: Sequence[Section], note: str) -> str:
    """The page as one HTML file that fetches nothing. note: the last line, as of what made it."""
    body = "\n".join(_section(section) for section in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{CSS}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        f'<p class="note">{escape(note)}</p>\n</body>\n</html>\n'
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", *(f"<p>{escape(text)}</p>" for text in section.text)]
    if section.table:
        head, *rows = section.table
        lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
        lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
        parts.append("<table>\n" + "\n".join(lines) + "\n</table>")
    for what, picture in section.pictures:
        data = base64.b64encode(picture).decode()
        parts.append(f'<p><img alt="{escape(what)}" src="data:image/svg+xml;base64,{data}"></p>')
    return "\n".join(parts)
