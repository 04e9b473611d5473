"""A result as files that need no DICOM viewer: PNG, PDF and HTML, all with the same page."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.results import ResultContent
from worker.reporting.html_report import build_html, png_of
from worker.reporting.pdf_report import build_pdf


def write_png(path: Path, page: NDArray[np.uint8]) -> None:
    """Write ``page``, ``(rows, columns, 3)`` RGB, as PNG.

    Raises:
        OSError: the disk refused.
    """
    path.write_bytes(png_of(page))


def write_readable(
    folder: Path, *, stem: str, content: ResultContent, page: NDArray[np.uint8]
) -> tuple[Path, Path, Path]:
    """Write the page as PNG, and PDF and HTML of the whole result; return their paths.

    Raises:
        OSError: the disk refused.
    """
    png, pdf, html = (folder / f"{stem}{end}" for end in ("-sc.png", ".pdf", ".html"))
    write_png(png, page)
    pdf.write_bytes(build_pdf(content, page))
    html.write_text(build_html(content, page), encoding="utf-8")
    return png, pdf, html
