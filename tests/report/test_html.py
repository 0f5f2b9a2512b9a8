"""The report is one file that is complete, harmless whatever the data say, and says what the numbers say."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mfc.clusters.metrics import headline
from mfc.faces.store import FaceStore
from mfc.report.html import MOST_A_CLUSTER, ReportPage, links_on_a_page, render, title_part
from mfc.report.tables import KINDS

EVIL = '<script>alert("x")</script>&\'"'


class Elements(HTMLParser):
    """Start tags with attributes, end tags and text, in order."""

    VOID = ("meta", "img", "br", "image", "rect", "line", "path", "circle")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def store_of(title: str, n: int = 12) -> FaceStore:
    """Faces on two pages, six each, in a row."""
    page, place = np.divmod(np.arange(n), 6)
    table = pd.DataFrame(
        {
            "face_id": [f"{i:08x}" for i in range(n)],
            "title": title,
            "page_index": page,
            "xmin": 100 * place,
            "ymin": 50,
            "xmax": 100 * place + 40,
            "ymax": 90,
            "row": pd.array(np.arange(n), "Int64"),
        }
    )
    return FaceStore(Path(), table, np.zeros((n, 16, 16, 1), np.uint8), {})


def clusters_of(name: str, n: int = 12) -> pd.DataFrame:
    """Cluster 0 all right, cluster 1 with two wrong faces, the first and the last of it."""
    cluster = (np.arange(n) >= n // 2).astype(int)
    correct = np.ones(n, bool)
    correct[[n // 2, n - 1]] = False
    return pd.DataFrame(
        {
            "face_id": [f"{i:08x}" for i in range(n)],
            "page_index": np.arange(n) // 6,
            "character_id": np.where(correct, cluster, 2).astype(str),
            "character_name": np.where(correct, "Anna", name),
            "cluster": cluster,
            "distance": np.arange(n) / n,
            "matched_name": "Anna",
            "correct": correct,
        }
    )


LINKS = pd.DataFrame(
    [
        ("00000000", "00000001", "must-link", True),
        ("00000000", "00000002", "cannot-link", False),
        ("00000001", "00000007", "must-link", True),
        ("00000006", "00000007", "must-link", True),
    ],
    columns=["face_a", "face_b", "kind", "true"],
)


def page_of(title: str = "A", name: str = "Bert", *, pictures: bool = True, n: int = 12) -> ReportPage:
    part = title_part(
        store_of(title, n),
        title,
        clusters_of(name, n),
        LINKS,
        lambda index: Image.new("L", (640, 400), 200),
        pictures=pictures,
    )
    columns = {f"{m.name}_{k}": [0.25, 0.25] for m in headline() for k in KINDS}
    return ReportPage(
        name=name,
        about=name,
        facts={"command": f"mfc main --experiment {name}"},
        table=pd.DataFrame({"title": [title, "mean"], **columns}),
        intervals=dict.fromkeys(columns, (0.25, 0.125, 0.375)),
        confidence=0.9,
        titles=[part],
        parameters={"finetune.tau": 1.4, "finetune.model": name, "finetune.title_idx": None},
    )


def test_text_from_data_is_escaped() -> None:
    """Titles, names, parameters and commands with markup appear as text, and nothing of them runs."""
    page = render(page_of(EVIL, EVIL))
    elements = Elements(page)
    assert not elements.all("script")
    assert "alert(&quot;x&quot;)" in page
    assert EVIL not in page
    assert {key for _, attributes in elements.tags for key in attributes if key.startswith("on")} == set()


def test_the_file_needs_nothing_else() -> None:
    """Every picture is inside, and no link leads out."""
    elements = Elements(render(page_of()))
    sources = [a["src"] for a in elements.all("img")] + [a["href"] for a in elements.all("image")]
    assert len(sources) == 13
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert all(str(a["href"]).startswith("#") for a in elements.all("a"))
    assert not elements.all("link")


def test_the_markup_is_balanced_and_links_arrive() -> None:
    """Each element is closed where it was opened, ids are unique, and each link's target exists."""
    elements = Elements(render(page_of(EVIL)))
    assert (elements.open, elements.unbalanced) == ([], [])
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for a in elements.all("a")} <= set(ids)


def test_the_numbers_are_those_of_the_summary() -> None:
    """Means with their intervals, the published rows, and a bar per title with its values, of each metric."""
    page = render(page_of())
    assert "<b>+0.250</b> <small>+0.125 … +0.375</small>" in page
    assert "90% intervals" in page
    assert (
        '<tr class="published"><th scope="row">accuracy: Manga109, the paper (not run here)</th>'
        "<td>0.480</td><td>0.640</td><td>+0.160</td></tr>"
    ) in page
    for label in ("accuracy", "NMI", "AMI", "B-cubed F"):
        assert page.count(f'aria-label="{label}: pre-trained 0.250, adapted 0.250"') == 2
        assert f"Adapting to each title raises {label}: +0.250" in page
    for label in ("AMI", "B-cubed F"):
        row = f'<th scope="row">{label}: no published value</th><td>–</td><td>–</td><td>–</td>'
        assert page.count(row) == 1


def test_what_there_is_not_is_a_dash() -> None:
    """One title and one seed have no interval; a metric that no score has, no bar."""
    page = page_of()
    intervals = dict.fromkeys(page.intervals, (0.25, np.nan, np.nan)) | {
        f"ami_{kind}": (np.nan, np.nan, np.nan) for kind in KINDS
    }
    table = page.table.assign(ami_pretrained=np.nan, ami_adapted=np.nan)
    shown = render(dataclasses.replace(page, intervals=intervals, table=table))
    assert "nan" not in re.sub(r"base64,[^\"]*", "", shown)
    assert "<td><b>0.250</b> <small>–</small></td>" in shown
    assert "<td><b>–</b> <small>–</small></td>" in shown
    assert "does not measurably change AMI: – (–)." in shown
    assert 'aria-label="AMI: pre-trained –, adapted –"' in shown


def test_a_bar_stays_within_its_rail() -> None:
    """AMI may be below zero: an empty bar, and the number beside it."""
    page = page_of()
    shown = render(dataclasses.replace(page, table=page.table.assign(ami_pretrained=-0.02)))
    assert '<rect class="before" width="0.0"' in shown
    assert "AMI: pre-trained -0.020, adapted 0.250" in shown
    assert not re.search(r'width="-', shown)


def test_bars_are_drawn_to_scale() -> None:
    """A quarter and three quarters of a rail that is 100 wide."""
    page = page_of()
    shown = render(dataclasses.replace(page, table=page.table.assign(ami_adapted=0.75)))
    assert shown.count('<rect class="before" width="25.0"') == 8
    assert shown.count('<rect class="after" width="75.0"') == 2


def test_hardest_first_and_wrong_ones_marked() -> None:
    """The cluster with wrong faces comes first, in it the wrong ones, the farther one before the other."""
    page = render(page_of(name="Bert"))
    assert page.index("Cluster 1: Anna") < page.index("Cluster 0: Anna")
    assert len(re.findall(r"<li class=wrong>", page)) == 2
    alts = re.findall(r'alt="([^"]*)"', page)
    assert alts[:2] == ["Bert, page 1", "Bert, page 1"]
    assert [alt.split(",")[0] for alt in alts] == ["Bert"] * 2 + ["Anna"] * 10


def test_large_clusters_are_cut_and_say_so() -> None:
    """No more than so many faces a cluster; the rest is counted."""
    n = 2 * MOST_A_CLUSTER + 20
    page = render(page_of(n=n))
    assert len(Elements(page).all("img")) == 2 * MOST_A_CLUSTER
    assert page.count("+ 10 more, not shown") == 2


def test_without_pictures_there_is_no_artwork() -> None:
    """The version for a server shows no pixel of the comic, and counts the same faces in words."""
    page = render(page_of(pictures=False))
    assert "data:image" not in page
    assert "--log_images true" in page
    assert "Bert 2" in page
    assert "<line" in page


def test_the_page_with_both_kinds_of_links_is_drawn() -> None:
    """Page 0 has a must-link and a cannot-link, page 1 only a must-link; one link joins the two pages."""
    faces = store_of("A").table.set_index("face_id")
    page = links_on_a_page(faces, LINKS, None)
    assert page is not None
    assert page.index == 0
    assert list(page.links) == [(0, 1, True, True), (0, 2, False, False)]
    assert page.elsewhere == 1
    assert page.size == (567, 94)
    assert links_on_a_page(faces, LINKS[LINKS["face_b"] == "none"], None) is None


def test_lines_join_the_middles_of_faces() -> None:
    """The must-link of faces 0 and 1, at x 0–40 and 100–140, goes from 20 to 120; false ones get a cross."""
    page = render(page_of())
    assert '<line class="must" x1="20" y1="70" x2="120" y2="70"/>' in page
    assert '<line class="cannot" x1="20" y1="70" x2="220" y2="70"/>' in page
    assert page.count('<path class="false"') == 1
    assert "1 must-link and 1 cannot-link between its 6 faces, 1 of them false; to other pages: 1." in page


def test_faces_that_are_no_longer_in_the_store_are_left_out() -> None:
    """A store made anew with other parameters does not break the report of older clusters."""
    part = title_part(store_of("A", 6), "A", clusters_of("B"), LINKS, lambda index: None, pictures=True)
    assert len(part.clusters) == 6
    assert part.crops is not None
    assert len(part.crops) == 6
    assert part.page is not None
    assert part.page.picture is None


@pytest.mark.parametrize(
    "needed", ['name="viewport"', "prefers-color-scheme: dark", 'class="skip"', "<summary>"]
)
def test_phone_dark_mode_and_keyboard(needed: str) -> None:
    """What a phone, a dark system and a keyboard need is there; tests/browser looks at the result."""
    assert needed in render(page_of())
