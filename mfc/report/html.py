"""The report of a pipeline as one HTML file that needs nothing else: bars, galleries, pairs, parameters.

It says what `mfc.stages.report` says, and shows what the numbers cannot. Every text from data is escaped, and
there is no script, so that it may be opened from a disk as well as in the UI of a tracking server.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mfc.clusters.intervals import Interval
from mfc.clusters.metrics import headline
from mfc.faces.store import FaceStore
from mfc.report.galleries import GalleryCluster, GalleryFace, data_uri, gallery_page, gallery_section
from mfc.report.tables import KINDS, interval_text, number_text, percent

if TYPE_CHECKING:
    from PIL.Image import Image

NOT_PUBLISHED = "no published value"
CODE_FACTS = ("command", "commit", "run", "faces")
"""Facts to be set as code."""
FACE = 72
"""Side of a face, pixels."""
MOST_FACES = 3000
"""Faces in a whole report, so that it stays below about 10 MB whatever the corpus."""
FEWEST_A_CLUSTER, MOST_A_CLUSTER = 6, 40
PAGE_WIDTH = 1100
"""Width of the page on which constraints are drawn, pixels."""


@dataclass(frozen=True)
class PageLinks:
    """One page of a title and the constraints between its faces."""

    index: int
    size: tuple[int, int]
    """Width and height, page pixels."""
    picture: Image | None
    boxes: np.ndarray
    """(n, 4) xmin, ymin, xmax, ymax, page pixels."""
    links: Sequence[tuple[int, int, bool, bool]]
    """Two faces of the page, whether they are must-linked, whether the truth agrees."""
    elsewhere: int
    """Constraints between a face of this page and one of another."""


@dataclass(frozen=True)
class TitlePart:
    """What the report shows of one title."""

    title: str
    clusters: pd.DataFrame
    """A row a face, as `mfc.clusters.protocol` makes it."""
    crops: Sequence[np.ndarray] | None
    """The faces in the order of ``clusters``, each (S, S, C) uint8; None: without pictures."""
    page: PageLinks | None


@dataclass(frozen=True)
class ReportPage:
    """All that one report shows."""

    name: str
    about: str
    facts: Mapping[str, str]
    """What was run: corpus, commit, command and so on."""
    table: pd.DataFrame
    """As in `mfc.report.tables.Summary`, as are the intervals; its last row is the mean."""
    intervals: Mapping[str, Interval]
    confidence: float
    titles: Sequence[TitlePart]
    parameters: Mapping[str, object]
    """``stage.key`` → value."""


def title_part(
    store: FaceStore,
    title: str,
    clusters: pd.DataFrame,
    links: pd.DataFrame | None,
    read_page: Callable[[int], Image | None],
    *,
    pictures: bool,
) -> TitlePart:
    """Gather what the report shows of a title; faces that the store no longer has are left out.

    Args:
        links: `face_a`, `face_b`, `kind`, `true`, as `mfc.stages.finetune` makes them.
        read_page: page index → its picture; None: there is none, the page stays blank.
        pictures: False leaves out everything that shows comic artwork.
    """
    faces = store.table[(store.table["title"] == title) & store.table["row"].notna()].set_index("face_id")
    clusters = clusters[clusters["face_id"].isin(faces.index)].reset_index(drop=True)
    crops = [store.crops[int(row)] for row in faces.loc[clusters["face_id"], "row"]] if pictures else None
    page = links_on_a_page(faces, links, read_page if pictures else None) if links is not None else None
    return TitlePart(title, clusters, crops, page)


def links_on_a_page(
    faces: pd.DataFrame, links: pd.DataFrame, read_page: Callable[[int], Image | None] | None
) -> PageLinks | None:
    """The constraints on the page that shows both kinds best; None when no two faces of a page are linked.

    Args:
        faces: the title's kept faces, by face id.
    """
    links = links[links["face_a"].isin(faces.index) & links["face_b"].isin(faces.index)]
    page_a = faces.loc[links["face_a"], "page_index"].to_numpy()
    page_b = faces.loc[links["face_b"], "page_index"].to_numpy()
    here = links[page_a == page_b].assign(page=page_a[page_a == page_b], must=links["kind"] == "must-link")
    if here.empty:
        return None
    counts = here.groupby("page")["must"].agg(["sum", "size"])
    # Both kinds, and neither so many that lines hide the page.
    shown = np.minimum(counts["sum"], 6) + np.minimum(counts["size"] - counts["sum"], 8)
    index = int(shown.idxmax())
    here = here[here["page"] == index]
    of_page = faces[faces["page_index"] == index]
    place = {face: i for i, face in enumerate(of_page.index)}
    boxes = of_page[["xmin", "ymin", "xmax", "ymax"]].to_numpy(dtype=np.int64)
    picture = read_page(index) if read_page else None
    size = picture.size if picture else (int(boxes[:, 2].max() * 1.05), int(boxes[:, 3].max() * 1.05))
    pairs = [
        (place[a], place[b], bool(must), bool(true))
        for a, b, must, true in zip(here["face_a"], here["face_b"], here["must"], here["true"], strict=True)
    ]
    elsewhere = int(((page_a == index) != (page_b == index)).sum())
    return PageLinks(index, size, picture, boxes, pairs, elsewhere)


def render(report: ReportPage) -> str:
    """The whole page."""
    body = "".join(
        (
            f"<style>{STYLE}</style>",
            _summary(report),
            _bars(report),
            _titles(report),
            _parameters(report.parameters),
        )
    )
    return gallery_page(f"mfc report: {report.name}", [report.about] if report.about else [], body)


def _summary(report: ReportPage) -> str:
    head = "".join(f'<th scope="col">{kind}</th>' for kind in KINDS.values())
    rows = []
    for metric in headline():
        cells = []
        for kind in KINDS:
            mean, low, high = report.intervals[f"{metric.name}_{kind}"]
            sign = "+" if kind == "difference" else ""
            span = interval_text(low, high, sign)
            cells.append(f"<td><b>{number_text(mean, sign)}</b> <small>{span}</small></td>")
        rows.append(f'<tr><th scope="row"><b>{_text(metric.label)}</b></th>{"".join(cells)}</tr>')
        for name, (before, after) in (metric.published or {NOT_PUBLISHED: (np.nan, np.nan)}).items():
            rows.append(
                f'<tr class="published"><th scope="row">{_text(metric.label)}: {_text(name)}</th>'
                f"<td>{number_text(before)}</td><td>{number_text(after)}</td>"
                f"<td>{number_text(after - before, '+')}</td></tr>"
            )
    n = len(report.table) - 1
    titles = "1 title" if n == 1 else f"{n} titles"
    facts = "".join(
        f"<dt>{_text(key)}</dt><dd>{_fact(key, value)}</dd>" for key, value in report.facts.items()
    )
    verdicts = "".join(f"<li>{_text(line)}</li>" for line in _verdicts(report))
    return (
        f'<section><h2>Summary</h2><ul class="verdicts">{verdicts}</ul>'
        f'<p class="key">Mean over {titles}, and {percent(report.confidence)} intervals over titles and seeds'
        "</p>"
        '<div class="wide" role="region" aria-label="Summary table" tabindex="0"><table class="summary">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<dl class="facts">{facts}</dl></section>'
    )


def _fact(key: str, value: str) -> str:
    return f"<code>{_text(value)}</code>" if key in CODE_FACTS else _text(value)


def _verdicts(report: ReportPage) -> Iterator[str]:
    """One sentence a metric: what adapting changed, and whether that can be told from chance."""
    for metric in headline():
        mean, low, high = report.intervals[f"{metric.name}_difference"]
        told = "raises" if low > 0 else "lowers" if high < 0 else "does not measurably change"
        span = interval_text(low, high, "+")
        yield f"Adapting to each title {told} {metric.label}: {number_text(mean, '+')} ({span})."


def _bars(report: ReportPage) -> str:
    rows = []
    for record in report.table.to_dict("records"):
        name = str(record["title"])
        cells = "".join(
            _bar(m.label, float(record[f"{m.name}_pretrained"]), float(record[f"{m.name}_adapted"]))
            for m in headline()
        )
        known = any(part.title == name for part in report.titles)
        shown = f'<a href="#{_anchor(name)}">{_text(name)}</a>' if known else _text(name)
        rows.append(f"<li{' class=mean' if name == 'mean' else ''}><h3>{shown}</h3><div>{cells}</div></li>")
    return (
        '<section><h2>Titles</h2><p class="key"><span class="swatch before"></span> pre-trained '
        f'<span class="swatch after"></span> adapted</p><ul class="bars">{"".join(rows)}</ul></section>'
    )


def _bar(label: str, before: float, after: float) -> str:
    shown = number_text(before), number_text(after)
    words = f"{label}: pre-trained {shown[0]}, adapted {shown[1]}"
    lengths = np.clip(np.nan_to_num([before, after]), 0, 1) * 100
    return (
        f'<div class="bar"><span>{_text(label)}</span><svg viewBox="0 0 100 14" preserveAspectRatio="none" '
        f'role="img" aria-label="{_text(words)}"><rect class="rail" width="100" height="14"/>'
        f'<rect class="before" width="{lengths[0]:.1f}" height="6" y="1"/>'
        f'<rect class="after" width="{lengths[1]:.1f}" height="6" y="7"/></svg>'
        f"<span><small>{shown[0]} →</small> <b>{shown[1]}</b></span></div>"
    )


def _titles(report: ReportPage) -> str:
    n = sum(part.clusters["cluster"].nunique() for part in report.titles if part.crops is not None)
    most = int(np.clip(MOST_FACES // max(n, 1), FEWEST_A_CLUSTER, MOST_A_CLUSTER))
    parts = "".join(_title(part, most, is_open=i == 0) for i, part in enumerate(report.titles))
    if not parts:
        return ""
    without = (
        ""
        if any(part.crops is not None for part in report.titles)
        else "<p>Pictures are left out: comic artwork does not leave the machine unless --log_images true "
        "says so. The report beside the outputs has them.</p>"
    )
    return (
        "<section><h2>Clusters of each title, adapted</h2><p>The hardest clusters come first, in each the "
        "faces that are wrong, then those that are farthest from its centre. Wrong: the face is not of the "
        f"character that the cluster was matched with, but of the one named below it.</p>{without}{parts}"
        "</section>"
    )


def _title(part: TitlePart, most: int, *, is_open: bool) -> str:
    faces, wrong = len(part.clusters), int((~part.clusters["correct"]).sum())
    characters = part.clusters["character_id"].nunique()
    note = f"{faces} faces of {characters} characters, {wrong} wrong"
    shown = _gallery(part, most) if part.crops is not None else _composition(part)
    page = _page(part.page) if part.page else ""
    return (
        f'<details class="title" id="{_anchor(part.title)}"{" open" if is_open else ""}><summary><h3>'
        f'{_text(part.title)}</h3> <span class="note">{note}</span></summary>{page}{shown}</details>'
    )


def _hardest_first(clusters: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Clusters by their share of wrong faces, and the faces in each: wrong ones, then the farthest."""
    numbers = np.unique(clusters["cluster"].to_numpy(dtype=np.int64)).tolist()
    groups = {cluster: clusters[clusters["cluster"] == cluster] for cluster in numbers}
    order = sorted(groups, key=lambda c: (groups[c]["correct"].mean(), -len(groups[c]), c))
    return [(c, groups[c].sort_values(["correct", "distance"], ascending=[True, False])) for c in order]


def _cluster_title(cluster: int, rows: pd.DataFrame) -> tuple[str, str]:
    name = str(rows["matched_name"].iloc[0]) or "no character left for it"
    wrong = int((~rows["correct"]).sum())
    return f"Cluster {cluster}: {name}", f"· {wrong} of {len(rows)} wrong" if wrong else "· all right"


def _gallery(part: TitlePart, most: int) -> str:
    assert part.crops is not None
    clusters = []
    for cluster, rows in _hardest_first(part.clusters):
        heading, note = _cluster_title(cluster, rows)
        shown = rows.head(most)
        crops = [part.crops[place] for place in shown.index.to_numpy(dtype=np.int64).tolist()]
        if len(rows) > most:
            note += f" · + {len(rows) - most} more, not shown"
        faces = [
            GalleryFace(
                data_uri(crop, FACE),
                f"{row['character_name']}, page {row['page_index']}",
                "" if row["correct"] else str(row["character_name"]),
                not row["correct"],
            )
            for crop, row in zip(crops, shown.to_dict("records"), strict=True)
        ]
        clusters.append(GalleryCluster(f"{_anchor(part.title)}-{cluster}", heading, faces, note))
    return gallery_section(clusters, heading="h4")


def _composition(part: TitlePart) -> str:
    """The clusters in words, where pictures may not be shown."""
    rows = []
    for cluster, faces in _hardest_first(part.clusters):
        heading, note = _cluster_title(cluster, faces)
        others = faces[~faces["correct"]]["character_name"].value_counts()
        names = ", ".join(f"{name} {count}" for name, count in others.items())
        rows.append(
            f'<tr><th scope="row">{_text(heading)}</th><td>{len(faces)}</td><td>{_text(note[2:])}</td>'
            f"<td>{_text(names)}</td></tr>"
        )
    return (
        '<div class="wide" role="region" aria-label="Clusters" tabindex="0"><table><thead><tr><td></td>'
        '<th scope="col">faces</th><th scope="col">wrong</th><th scope="col">wrong ones are</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _page(page: PageLinks) -> str:
    """The page as a drawing: full lines for must-links, dashed ones for cannot-links, × where false."""
    width, height = page.size
    unit = width / 400
    marks = [
        f'<rect x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}"/>' for x0, y0, x1, y1 in page.boxes
    ]
    centres = (page.boxes[:, :2] + page.boxes[:, 2:]) / 2
    must = [link for link in page.links if link[2]]
    cannot = [link for link in page.links if not link[2]]
    for kind, links in (("cannot", cannot), ("must", must)):
        for a, b, _, true in links:
            (xa, ya), (xb, yb) = centres[a], centres[b]
            ends = f'x1="{xa:.0f}" y1="{ya:.0f}" x2="{xb:.0f}" y2="{yb:.0f}"'
            marks += [f'<line class="halo" {ends}/>', f'<line class="{kind}" {ends}/>']
            if not true:
                x, y, r = (xa + xb) / 2, (ya + yb) / 2, 3.2 * unit
                left, right, top, low = f"{x - r:.0f}", f"{x + r:.0f}", f"{y - r:.0f}", f"{y + r:.0f}"
                cross = f"M{left} {top}L{right} {low}M{left} {low}L{right} {top}"
                marks += [f'<path class="halo" d="{cross}"/>', f'<path class="false" d="{cross}"/>']
    marks += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{2.2 * unit:.1f}"/>' for x, y in centres]
    false = sum(not link[3] for link in page.links)
    words = (
        f"Page {page.index}: {_count(must, 'must-link')} and {_count(cannot, 'cannot-link')} between its "
        f"{len(page.boxes)} faces, {false} of them false"
    )
    image = (
        f'<image href="{_page_uri(page.picture)}" width="{width}" height="{height}"/>' if page.picture else ""
    )
    return (
        f'<figure class="page"><svg viewBox="0 0 {width} {height}" style="--unit:{unit:.2f}px" role="img" '
        f'aria-label="{_text(words)}">{image}{"".join(marks)}</svg><figcaption>Constraints seen on a page. '
        f"{_text(words)}; to other pages: {page.elsewhere}. Full lines: must-link; dashed: "
        "cannot-link; ×: the truth says otherwise (which is never used to train).</figcaption></figure>"
    )


def _count(items: Sequence[object], word: str) -> str:
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"


def _page_uri(picture: Image) -> str:
    if picture.width > PAGE_WIDTH:
        picture = picture.resize((PAGE_WIDTH, round(picture.height * PAGE_WIDTH / picture.width)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=62)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _parameters(parameters: Mapping[str, object]) -> str:
    stages: dict[str, list[str]] = {}
    for key, value in parameters.items():
        stage, _, name = key.rpartition(".")
        shown = "" if value is None else value
        stages.setdefault(stage, []).append(
            f'<tr><th scope="row">{_text(name)}</th><td><code>{_text(str(shown))}</code></td></tr>'
        )
    tables = "".join(
        f"<div><h3>{_text(stage)}</h3><table>{''.join(rows)}</table></div>" for stage, rows in stages.items()
    )
    return (
        '<section><details class="title"><summary><h2>All parameters</h2></summary>'
        f'<div class="parameters">{tables}</div></details></section>'
    )


def _anchor(title: str) -> str:
    return f"title-{title.encode('utf-8', 'surrogatepass').hex()}"


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)


STYLE = """
:root { --before: #8c8c8c; --after: #0b6e99; --must: #0b7285; --cannot: #d9480f; }
@media (prefers-color-scheme: dark) { :root { --before: #8d8d97; --after: #58b6dd; } }
main > section { margin: 1.5rem 0 2rem; }
h2 { font-size: 1.25rem; margin: 0 0 0.6rem; }
small { color: var(--soft); }
.verdicts { margin: 0 0 0.8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.3rem 1rem 0.3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-weight: normal; }
thead th { color: var(--soft); }
td small { white-space: nowrap; }
.published { color: var(--soft); font-size: 0.9rem; }
main code { font-size: 0.9em; white-space: normal; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.2rem 1rem; margin: 1rem 0 0;
  font-size: 0.9rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; }
.key { margin: 0 0 0.5rem; color: var(--soft); font-size: 0.9rem; }
.swatch { display: inline-block; width: 0.9rem; height: 0.6rem; margin-left: 0.6rem; }
.swatch:first-child { margin-left: 0; }
.swatch.before { background: var(--before); }
.swatch.after { background: var(--after); }
.bars li { display: grid; grid-template-columns: 12rem minmax(0, 1fr); gap: 0.2rem 1.5rem;
  padding: 0.35rem 0; border-bottom: 1px solid var(--line); }
.bars li > div { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
  gap: 0.2rem 1.5rem; }
.bars h3 { font-size: 1rem; font-weight: normal; margin: 0; }
.bars .mean h3 { font-weight: bold; }
.bar { display: grid; grid-template-columns: 4.8rem 1fr 7.2rem; gap: 0.6rem; align-items: center;
  font-size: 0.85rem; font-variant-numeric: tabular-nums; }
.bar svg { width: 100%; height: 1rem; display: block; }
.bar .rail { fill: var(--line); opacity: 0.45; }
.bar .before { fill: var(--before); }
.bar .after { fill: var(--after); }
details.title { border: 1px solid var(--line); border-radius: 10px; padding: 0 0.8rem; margin: 0.6rem 0;
  background: var(--paper); scroll-margin-top: 0.5rem; }
details.title[open] { padding-bottom: 0.8rem; }
details.title > summary > :is(h2, h3) { font-size: 1.1rem; }
.page { margin: 0.6rem 0 1rem; }
.page svg { display: block; width: 100%; max-width: 50rem; height: auto; background: #ffffff;
  border: 1px solid var(--line); border-radius: 6px; }
.page rect { fill: none; stroke: #333333; stroke-width: calc(var(--unit) * 0.9); }
.page line, .page path { stroke-linecap: round; fill: none; stroke-width: calc(var(--unit) * 1.1); }
.page .halo { stroke: #ffffff; stroke-width: calc(var(--unit) * 2.4); opacity: 0.85; }
.page line.must { stroke: var(--must); }
.page line.cannot { stroke: var(--cannot);
  stroke-dasharray: calc(var(--unit) * 3.5) calc(var(--unit) * 2.6); }
.page path.false { stroke: #111111; }
.page circle { fill: #333333; }
.page figcaption { font-size: 0.85rem; max-width: 50rem; }
.parameters { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem 2rem; }
.parameters h3 { font-size: 1rem; margin: 0.3rem 0; }
.parameters table { width: 100%; font-size: 0.85rem; }
@media (max-width: 48rem) {
  .bars li { grid-template-columns: minmax(0, 1fr); }
  .facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .facts dd { margin-bottom: 0.4rem; }
  .summary, .summary thead, .summary tbody { display: block; }
  .summary tr { display: grid; grid-template-columns: 1fr 1fr 1fr; border-bottom: 1px solid var(--line); }
  .summary :is(th, td) { border: none; padding: 0.15rem 0.5rem 0.15rem 0; }
  .summary th[scope="row"] { grid-column: 1 / -1; }
  .summary thead td { display: none; }
  .summary small { display: block; font-size: 0.75rem; }
  .bar { grid-template-columns: 4.8rem 1fr 6.6rem; }
}
"""
"""Beside that of `mfc.report.galleries`."""
