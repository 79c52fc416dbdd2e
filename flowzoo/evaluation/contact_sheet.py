"""The worst pairs as one HTML page without any other file: frames, flow, truth and error beside each other."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

LARGEST = 480
"""Pixels of a picture's longer side."""
QUALITY = 85
_STYLE = """body{margin:1rem;font:1rem/1.4 sans-serif;background:#fff;color:#222}
h2{font-size:1rem;margin:1.5rem 0 .3rem}
.row{display:flex;flex-wrap:wrap;gap:.5rem}
figure{margin:0}figcaption{font-size:.85rem;color:#555}
img{display:block;max-width:100%;image-rendering:auto}"""


@dataclass(frozen=True)
class SheetRow:
    """One pair.

    Attributes:
        place: 1 is the worst.
        name: of the pair.
        epe: its mean end-point error in pixels.
        pictures: (what it is, JPEG) in the order in which they are shown.
    """

    place: int
    name: str
    epe: float
    pictures: tuple[tuple[str, bytes], ...]


def small_jpeg(picture: np.ndarray) -> bytes:
    """HxWx3 uint8 as a JPEG whose longer side has at most `LARGEST` pixels."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def contact_sheet(title: str, rows: Sequence[SheetRow]) -> str:
    """The page, the worst pair first."""
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        "<p>Flow and truth have one colour scale. Error: blue is right, yellow to red is above 3 px and 5 %, black is "
        "not known.</p>",
    ]
    for row in sorted(rows, key=lambda row: row.place):
        parts.append(f'<h2>{row.place}. {html.escape(row.name)}: {row.epe:.2f} px</h2><div class="row">')
        for what, jpeg in row.pictures:
            data = base64.b64encode(jpeg).decode()
            alt = html.escape(f"{what} of {row.name}", quote=True)
            parts.append(
                f'<figure><img alt="{alt}" src="data:image/jpeg;base64,{data}"><figcaption>{what}</figcaption></figure>'
            )
        parts.append("</div>")
    return "\n".join([*parts, "</body></html>", ""])
