"""Galleries of clusters as HTML that needs nothing else: pictures inside, no script, every text escaped."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_CODE = re.compile("`([^`]*)`")
THUMBNAIL = 96
"""Side of a face in a gallery, pixels."""


@dataclass(frozen=True)
class GalleryFace:
    """One picture of a gallery."""

    image: str
    """A ``data:`` URI, as `data_uri` makes it."""
    alt: str
    """What the picture is, for those who do not see it."""
    caption: str = ""
    wrong: bool = False
    """Marked, by a border and a word, as being in the wrong cluster."""


@dataclass(frozen=True)
class GalleryCluster:
    """One cluster: its faces in the order in which they are shown."""

    anchor: str
    """Names the cluster in the page; unique there."""
    title: str
    faces: Sequence[GalleryFace]
    note: str = ""


def data_uri(crop: npt.NDArray[np.uint8], side: int = THUMBNAIL) -> str:
    """A crop (S, S, C) uint8, C = 1 or 3, as a small JPEG in a ``data:`` URI."""
    from PIL import Image

    picture = Image.fromarray(crop.squeeze())
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def gallery_section(clusters: Sequence[GalleryCluster], *, heading: str = "h2") -> str:
    """The clusters one below the other, each a part that folds; goes into a page that has `STYLE`."""
    return "\n".join(_cluster(cluster, heading) for cluster in clusters)


def gallery_index(clusters: Sequence[GalleryCluster]) -> str:
    """Links to the clusters, each with its first face."""
    links = (
        f'<li><a href="#{_text(c.anchor)}">{_picture(c.faces[0], "")}'
        f"<span>{_text(c.title)}</span><small>{len(c.faces)}</small></a></li>"
        for c in clusters
        if c.faces
    )
    return f'<nav aria-label="Clusters"><ul class="index">{"".join(links)}</ul></nav>'


def gallery_page(title: str, intro: Sequence[str], body: str) -> str:
    """A whole page: heading, paragraphs (texts, with `code`; not HTML), and a body (HTML) made here."""
    marked = (_CODE.sub(r"<code>\1</code>", _text(line)) for line in intro)
    paragraphs = "".join(f"<p>{line}</p>" for line in marked)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#main">Skip to the clusters</a>\n'
        f"<header><h1>{_text(title)}</h1>{paragraphs}</header>\n"
        f'<main id="main" tabindex="-1">\n{body}\n</main>\n</body>\n</html>\n'
    )


def _cluster(cluster: GalleryCluster, heading: str) -> str:
    count = f"{len(cluster.faces)} face{'' if len(cluster.faces) == 1 else 's'}"
    note = f' <span class="note">{_text(cluster.note)}</span>' if cluster.note else ""
    faces = "".join(
        f"<li{' class=wrong' if face.wrong else ''}><figure>{_picture(face, face.alt)}"
        f"<figcaption>{'<b>wrong</b> ' if face.wrong else ''}{_text(face.caption)}</figcaption></figure></li>"
        for face in cluster.faces
    )
    title = f"<{heading}>{_text(cluster.title)}</{heading}>"
    return (
        f'<details open class="cluster" id="{_text(cluster.anchor)}">'
        f'<summary>{title} <span class="count">{count}</span>{note}</summary>'
        f'<ul class="faces">{faces}</ul></details>'
    )


def _picture(face: GalleryFace, alt: str) -> str:
    return (
        f'<img src="{_text(face.image)}" alt="{_text(alt)}" width="{THUMBNAIL}" height="{THUMBNAIL}" '
        'loading="lazy" decoding="async">'
    )


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)


STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --soft: #5c5c66; --paper: #fdfdfb; --line: #d8d8d2;
  --card: #ffffff; --accent: #0b5cad; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #a9a9b4; --paper: #17171a;
  --line: #3a3a42; --card: #212126; --accent: #8ab8ff; --wrong: #ff8a80; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0.5rem 0; }
header p { margin: 0.3rem 0; color: var(--soft); max-width: 46rem; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { position: static; }
main:focus { outline: none; }
ul { list-style: none; margin: 0; padding: 0; }
.index { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 0.5rem;
  margin: 1rem 0 1.5rem; }
.index a { display: grid; grid-template-columns: 2.25rem 1fr auto; gap: 0.4rem; align-items: center;
  padding: 0.25rem; border: 1px solid var(--line); border-radius: 8px; background: var(--card);
  text-decoration: none; color: inherit; font-size: 0.85rem; line-height: 1.2; min-height: 2.75rem; }
.index span, figcaption { overflow-wrap: anywhere; }
code { white-space: nowrap; }
.index img { width: 2.25rem; height: 2.25rem; border-radius: 4px; }
.index small { color: var(--soft); }
.cluster { border-top: 1px solid var(--line); padding: 0.5rem 0 1rem; scroll-margin-top: 0.5rem; }
.cluster:target > summary { color: var(--accent); }
summary { cursor: pointer; padding: 0.4rem 0; min-height: 2.75rem; }
summary > :is(h1, h2, h3, h4) { display: inline; font-size: 1.15rem; margin: 0 0.4rem 0 0; }
.count, .note { color: var(--soft); font-size: 0.9rem; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.25rem, 1fr)); gap: 0.5rem; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; aspect-ratio: 1; border-radius: 6px;
  border: 1px solid var(--line); background: var(--card); }
figcaption { font-size: 0.75rem; line-height: 1.3; color: var(--soft); padding-top: 0.15rem; }
.wrong img { border: 3px solid var(--wrong); }
.wrong b { color: var(--wrong); }
@media print { .skip { display: none; } .cluster { break-inside: avoid-page; } }
"""
"""Light and dark as the reader's system is; from a phone's width up."""
