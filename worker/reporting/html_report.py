"""A result as one HTML file that needs nothing else: the page as a picture, all facts as tables."""

from base64 import b64encode
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.codes import BONE_AGE_REPORT, NOT_ESTIMATED_REPORT
from schemas.results import ResultContent
from worker.reporting.chapters import Chapter, answer_of, chapters_of
from worker.reporting.wording import RESEARCH_USE, conclusion, identity_sentence

_STYLE = """
body { font: 16px/1.45 system-ui, "DejaVu Sans", Arial, sans-serif; color: #14181f;
  background: #fff; margin: 0 auto; max-width: 60rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; border-bottom: 1px solid #b9c0cb; }
.use { background: #ffc400; font-weight: bold; text-align: center; padding: .4rem; }
.conclusion { font-size: 1.15rem; }
img { width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .5rem .2rem 0;
  border-bottom: 1px solid #e4e7ec; overflow-wrap: anywhere; }
th { font-weight: normal; color: #4a5361; width: 19rem; }
@media print { body { padding: 0; font-size: 11px; max-width: none; } tr { break-inside: avoid; }
  .use { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def build_html(content: ResultContent, page: NDArray[np.uint8]) -> str:
    """Return the document; it loads nothing, runs nothing and names nobody.

    Args:
        content: what was found.
        page: ``(rows, columns, 3)`` RGB, as in the secondary capture.
    """
    title = NOT_ESTIMATED_REPORT if content.reason else BONE_AGE_REPORT
    said = escape(conclusion(content))
    tables = "\n".join(_table(chapter) for chapter in chapters_of(content))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title.meaning)}</title>
<style>{_STYLE}</style>
</head>
<body>
<p class="use">{RESEARCH_USE}</p>
<h1>{escape(title.meaning)}</h1>
<p class="conclusion">{said}</p>
<p>{escape(identity_sentence(content))}</p>
<img src="data:image/png;base64,{b64encode(png_of(page)).decode()}" alt="{said}">
{tables}
</body>
</html>
"""


def png_of(page: NDArray[np.uint8]) -> bytes:
    """Return ``page``, ``(rows, columns, 3)`` RGB, as a PNG file."""
    target = BytesIO()
    Image.fromarray(page).save(target, "PNG", optimize=True)
    return target.getvalue()


def _table(chapter: Chapter) -> str:
    rows = "\n".join(
        f"<tr><th>{escape(fact.concept.meaning)}</th><td>{escape(answer_of(fact))}</td></tr>"
        for fact in chapter.facts
    )
    return f"<h2>{escape(chapter.concept.meaning)}</h2>\n<table>\n{rows}\n</table>"
