"""The cluster stage on the golden corpus with a small random encoder: results, corrections, refusals."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mfc.cast.job import open_job
from mfc.cast.result import read_record
from mfc.cli import main
from mfc.config import Cluster, Finetune, Preprocess
from mfc.corpus.manga109 import assign_frame, open_corpus
from mfc.encoders.device import Compute
from mfc.encoders.network import Encoder, EncoderConfig, new_encoder, save_encoder
from mfc.errors import UserError
from mfc.stages.cluster import cluster_comic
from mfc.workspace import Workspace
from tests.golden.conftest import GOLDEN
from tests.recorder import Recorder

TITLE = "That'sYuki"
ROOT = GOLDEN / "corpus"
COMIC = Cluster(input=str(ROOT), title=TITLE, threshold="0.05", device="cpu", precision="float32")
PAGES = ROOT / "images" / TITLE
CUTTING = Preprocess(size=37, color=False, jobs=1)
ADAPTATION = Finetune(epochs=1, lr=0.001, eval_every=0, device="cpu", precision="float32")

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    save_encoder(new_encoder(EncoderConfig("resnet18", ("a", "b"), 32), init="random", seed=3), folder)
    return folder


def never(encoder: Encoder, compute: Compute) -> float:
    raise AssertionError("the cut was given")


Go = Callable[..., Path]


@pytest.fixture
def go(model: Path, tmp_path: Path) -> Go:
    """Cluster the comic; keyword arguments change the configuration."""

    def call(log: Recorder | None = None, overwrite: bool = False, **changes: object) -> Path:
        config = dataclasses.replace(COMIC, **{"adapt": False, "out": str(tmp_path / "out"), **changes})
        job = open_job(config, lambda name: tmp_path / name, overwrite)
        workspace = Workspace(tmp_path, "work")
        return cluster_comic(job, CUTTING, ADAPTATION, model, never, workspace, log or Recorder())

    return call


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def by_face(path: Path) -> dict[str, dict[str, str]]:
    return {row["face_id"]: row for row in read(path)}


def test_every_large_enough_face_is_in_one_cluster(go: Go) -> None:
    """No label is read, and faces of one frame are in different clusters."""
    log = Recorder()
    rows = by_face(go(log) / "clusters.csv")
    book = open_corpus(ROOT).read_book(TITLE)
    faces = {f.face_id: f.box for page in book.pages for f in page.faces}
    large = {i for i, b in faces.items() if b[2] - b[0] > 30 and b[3] - b[1] > 30}
    assert set(rows) == large
    assert f"cluster: {len(faces) - len(large)} faces are left out (5 too small)" in log.lines
    sizes: dict[str, int] = {}
    for row in rows.values():
        sizes[row["cluster"]] = sizes.get(row["cluster"], 0) + 1
    assert {face for face, row in rows.items() if row["singleton"]} == {
        face for face, row in rows.items() if sizes[row["cluster"]] == 1
    }
    assert log.values["cluster/clusters"] == len(sizes)
    assert len(sizes) > 1
    assert sorted(map(int, sizes)) == list(range(1, len(sizes) + 1))


def test_faces_of_one_frame_are_kept_apart(go: Go) -> None:
    """Even when almost everything may be joined."""
    rows = by_face(go(threshold="2") / "clusters.csv")
    seen: set[tuple[str, str]] = set()
    shared = 0
    for page in open_corpus(ROOT).read_book(TITLE).pages:
        for face in page.faces:
            frame = assign_frame(face.box, page.frames)
            if face.face_id in rows and frame:
                key = (frame, rows[face.face_id]["cluster"])
                assert key not in seen
                seen.add(key)
                shared += 1
    assert shared > len({frame for frame, _ in seen}), "no frame had two faces"


def test_the_exports_agree_with_the_table(go: Go, tmp_path: Path) -> None:
    """COCO and Manga109 XML tell the same clusters, and the XML is a corpus that preprocess would read."""
    out = go()
    rows = by_face(out / "clusters.csv")
    coco = json.loads((out / "coco.json").read_text())
    assert {a["face_id"]: str(a["category_id"]) for a in coco["annotations"]} == {
        face: row["cluster"] for face, row in rows.items()
    }
    root = tmp_path / "corpus"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    (root / "books.txt").write_text(TITLE)
    (root / "annotations" / f"{TITLE}.xml").write_bytes((out / "manga109.xml").read_bytes())
    book = open_corpus(root, "annotations").read_book(TITLE)
    found = {f.face_id: f.character_id for page in book.pages for f in page.faces}
    assert {face: f"{int(row['cluster']):08x}" for face, row in rows.items()}.items() <= found.items()


def test_pages_with_boxes_give_the_same_clusters_as_manga109(go: Go, tmp_path: Path) -> None:
    """The exported COCO file and the pages as they lie: the same crops, so the same clusters."""
    first = by_face(go(n_clusters="12", out=str(tmp_path / "a")) / "clusters.csv")
    boxes = json.loads((tmp_path / "a" / "coco.json").read_text())
    for image in boxes["images"]:
        image["file_name"] = f"{image['id']:03d}.jpg"
    boxes["categories"] = [{"id": 1, "name": "face"}, {"id": 2, "name": "frame"}]
    for annotation in boxes["annotations"]:
        annotation["category_id"] = 1
    for page in open_corpus(ROOT).read_book(TITLE).pages:
        for frame in page.frames:
            sides = [frame.box[0], frame.box[1], frame.box[2] - frame.box[0], frame.box[3] - frame.box[1]]
            if (PAGES / f"{page.index:03d}.jpg").is_file():
                boxes["annotations"].append(
                    {"id": frame.frame_id, "image_id": page.index, "category_id": 2, "bbox": sides}
                )
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes))
    changes = {"input": str(PAGES), "title": "", "boxes": str(path), "n_clusters": "12"}
    second = by_face(go(out=str(tmp_path / "b"), **changes) / "clusters.csv")
    assert {f: r["cluster"] for f, r in second.items()} == {f: r["cluster"] for f, r in first.items()}


@pytest.mark.parametrize("method", ["agglomerative", "hdbscan", "silhouette"])
def test_cut_out_faces_by_any_method(go: Go, method: str) -> None:
    """A folder of pictures, each a face; nothing is expanded or left out."""
    log = Recorder()
    out = go(log, input=str(PAGES), title="", method=method, adapt=True)
    assert sorted(by_face(out / "clusters.csv")) == sorted(p.name for p in PAGES.iterdir())
    assert any("not adapted to the comic, because no pages are known" in line for line in log.lines)


@pytest.mark.parametrize("method", ["agglomerative", "silhouette"])
def test_a_number_of_clusters(go: Go, method: str) -> None:
    """As many as were asked for."""
    rows = by_face(go(n_clusters="20", method=method) / "clusters.csv")
    assert len({row["cluster"] for row in rows.values()}) == 20


def test_the_encoder_is_adapted_when_frames_are_known(go: Go) -> None:
    """Other distances, the same number of clusters: that comes from the encoder as it was."""
    plain, log = by_face(go() / "clusters.csv"), Recorder()
    out = go(log, adapt=True)
    adapted = by_face(out / "clusters.csv")
    assert any(re.search(r"adapt to .*: 59 faces, \d+ must-links, \d+ cannot-links", x) for x in log.lines)
    assert read_record(out)["adapted"] is True
    assert [r["distance"] for r in plain.values()] != [r["distance"] for r in adapted.values()]
    assert len({r["cluster"] for r in plain.values()}) == len({r["cluster"] for r in adapted.values()})


def test_two_runs_are_equal(go: Go) -> None:
    """Byte for byte, and the second does not cut the pages again."""
    out = go()
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    log = Recorder()
    go(log)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert not any(line.startswith("cut ") for line in log.lines)


def test_the_gallery_shows_every_face_and_escapes_names(go: Go, tmp_path: Path) -> None:
    """One picture a face beside the index; a name with tags stays text."""
    out = go()
    rows = read(out / "clusters.csv")
    rows[0]["name"] = "<script>alert(1)</script>"
    out = go(corrections=str(write(tmp_path / "edited.csv", rows)))
    page = (out / "gallery.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<figure>") == len(rows)
    assert "✓" in page


def test_rounds_of_correction(go: Go, tmp_path: Path) -> None:
    """Names and moves hold while the number of clusters changes; a later round may change them."""
    out = go(n_clusters="14")
    rows = read(out / "clusters.csv")
    first = [r for r in rows if r["cluster"] == "1"]
    second = [r for r in rows if r["cluster"] == "2"]
    first[0]["name"], second[0]["name"] = "Aki", "Ben"
    first[1]["cluster"], second[1]["cluster"] = "2", "99"
    aki, ben, moved, alone = (r["face_id"] for r in (first[0], second[0], first[1], second[1]))
    edited = write(tmp_path / "edited.csv", rows)
    for n_clusters in ("14", "25", "12", "auto"):
        out = go(corrections=str(edited), n_clusters=n_clusters)
        now = by_face(out / "clusters.csv")
        assert (now[aki]["name"], now[ben]["name"]) == ("Aki", "Ben")
        assert now[moved]["cluster"] == now[ben]["cluster"]
        assert (now[aki]["cluster"], now[ben]["cluster"], now[alone]["cluster"]) == ("1", "2", "99")
        assert {now[face]["decided"] for face in (aki, ben, moved, alone)} == {"yes"}
        edited = out / "clusters.csv"
    rows = read(edited)
    next(r for r in rows if r["face_id"] == moved)["name"] = "Cyd"
    now = by_face(go(corrections=str(write(edited, rows))) / "clusters.csv")
    assert now[moved]["name"] == "Cyd"
    assert now[ben]["name"] == "Ben"
    assert now[moved]["cluster"] != now[ben]["cluster"]


def test_a_person_may_join_what_a_frame_keeps_apart(go: Go, tmp_path: Path) -> None:
    """The same character twice in one frame: the person is right."""
    out = go()
    rows = by_face(out / "clusters.csv")
    frames: dict[str, list[str]] = {}
    for page in open_corpus(ROOT).read_book(TITLE).pages:
        for face in page.faces:
            frame = assign_frame(face.box, page.frames)
            if frame and face.face_id in rows:
                frames.setdefault(frame, []).append(face.face_id)
    a, b = next(faces for faces in frames.values() if len(faces) > 1)[:2]
    rows[a]["name"] = rows[b]["name"] = "Twin"
    now = by_face(go(corrections=str(write(tmp_path / "e.csv", list(rows.values())))) / "clusters.csv")
    assert now[a]["cluster"] == now[b]["cluster"]


def test_previous_keeps_numbers_and_names(go: Go, tmp_path: Path) -> None:
    """Of a result with other parameters: larger shares go on under their numbers and names."""
    before = go(n_clusters="12", out=str(tmp_path / "a")) / "clusters.csv"
    rows = read(before)
    for row in rows:
        row["cluster"] = row["made_cluster"] = str(int(row["cluster"]) + 40)
        row["name"] = row["made_name"] = "Aki" if row["cluster"] == "41" else ""
    previous = write(tmp_path / "previous.csv", rows)
    same = by_face(go(n_clusters="12", previous=str(previous)) / "clusters.csv")
    assert {f: (r["cluster"], r["name"]) for f, r in same.items()} == {
        r["face_id"]: (r["cluster"], r["name"]) for r in rows
    }
    split = by_face(go(n_clusters="13", previous=str(previous), overwrite=True) / "clusters.csv")
    numbers = {int(r["cluster"]) for r in split.values()}
    assert len(numbers) == 13
    assert max(numbers) == 53, "the new one is numbered on"


def test_work_by_hand_is_not_written_over(go: Go, tmp_path: Path) -> None:
    """Without --corrections the edited table is refused, named, and left as it is."""
    out = go()
    rows = read(out / "clusters.csv")
    rows[3]["name"] = "Aki"
    edited = write(out / "clusters.csv", rows).read_bytes()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds names or moves by hand: keep them by --corrections"):
        go()
    assert (out / "clusters.csv").read_bytes() == edited
    go(corrections=str(out / "clusters.csv"))
    assert read(out / "clusters.csv")[3]["name"] == "Aki"
    go(overwrite=True)
    assert {row["name"] for row in read(out / "clusters.csv")} == {""}
    assert sorted(p.name for p in out.iterdir()) == [
        "cluster.json",
        "clusters.csv",
        "coco.json",
        "gallery.html",
        "manga109.xml",
        "notes.txt",
    ]


def test_refusals(go: Go, tmp_path: Path) -> None:
    """Each in one sentence that says what to do, before anything is written."""
    out = go(out=str(tmp_path / "good"))
    rows = read(out / "clusters.csv")
    strange = write(tmp_path / "strange.csv", [{**rows[0], "face_id": "1e+45"}])
    named = write(tmp_path / "named.csv", [{**row, "name": f"n{i}"} for i, row in enumerate(rows)])
    other = tmp_path / "other"
    other.mkdir()
    (other / "coco.json").write_text("{}")
    cases: list[tuple[dict[str, str], str]] = [
        ({"input": ""}, "give the comic's folder by --input"),
        ({"title": "Nobody"}, "'Nobody' is not in"),
        ({"n_clusters": "many"}, "n_clusters: 'many' is neither auto nor a whole number of at least 1"),
        ({"threshold": "-1"}, "threshold: '-1' is neither auto nor a number of at least 0"),
        ({"method": "hdbscan", "n_clusters": "3"}, "leave --n_clusters out"),
        (
            {"method": "hdbscan", "corrections": str(named)},
            "corrections hold with --method agglomerative only",
        ),
        ({"corrections": str(named), "previous": str(named)}, "leave --previous out"),
        ({"corrections": str(strange)}, "strange.csv, line 2: face 1e+45 is not in the comic"),
        ({"corrections": str(named), "n_clusters": "4"}, "n_clusters 4 is less than the 59 people"),
        ({"out": str(other)}, "holds a coco.json that is not from `mfc cluster`"),
        ({"out": str(other / "coco.json")}, "is a file"),
    ]
    for changes, complaint in cases:
        with pytest.raises(UserError) as caught:
            go(**{"out": str(tmp_path / "refused"), **changes})
        assert complaint in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "refused").exists()


def test_a_page_that_cannot_be_read(go: Go, tmp_path: Path) -> None:
    """Stops and names it; with strict false its faces are left out, and said so."""
    root = tmp_path / "corpus"
    shutil.copytree(ROOT, root)
    (root / "images" / TITLE / "003.jpg").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"images/That'sYuki/003.jpg: cannot be read .* --strict false"):
        go(input=str(root))
    log = Recorder()
    rows = by_face(go(log, input=str(root), strict=False) / "clusters.csv")
    assert "3" not in {row["page"] for row in rows.values()}
    assert any("unreadable image" in line for line in log.lines)


def drawn(folder: Path, *, pages: int = 3, twice: bool = False, frames: bool = False) -> dict[str, str]:
    """Pages with the faces of four people, each drawn in a pattern of its own, and a table of their boxes."""
    (folder / "pages").mkdir(parents=True)
    corners = [(30, 30), (160, 40), (300, 50), (60, 170)]
    lines = ["page,kind,xmin,ymin,xmax,ymax"]
    for number in range(1, pages + 1):
        name = f"{number:03d}.png"
        page = np.full((300, 420), 255, np.uint8)
        for person in range(4):
            x, y = corners[(person + number) % 4]
            pattern = np.random.default_rng(person).integers(0, 2, (10, 10)) * 200
            page[y : y + 80, x : x + 80] = np.kron(pattern, np.ones((8, 8)))
            lines.append(f"{name},face,{x},{y},{x + 80},{y + 80}")
            if twice:
                lines.append(f"{name},face,{x + 2},{y + 1},{x + 81},{y + 82}")
        if frames:
            lines.append(f"{name},frame,0,0,420,300")
        Image.fromarray(page).save(folder / "pages" / name)
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    return {"input": str(folder / "pages"), "title": "", "boxes": str(folder / "faces.csv")}


def members(rows: Iterable[dict[str, str]]) -> dict[str, set[str]]:
    """Cluster → its faces."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["cluster"], set()).add(row["face_id"])
    return found


@pytest.mark.parametrize("n_clusters", ["3", "4", "auto"])
@pytest.mark.parametrize("by", ["moves", "names", "one name each"])
def test_a_merge_by_hand_is_a_merge(go: Go, tmp_path: Path, by: str, n_clusters: str) -> None:
    """Nobody else is thrown out of a cluster, however many clusters are asked for."""
    comic = drawn(tmp_path / "comic")
    rows = read(go(n_clusters="4", **comic) / "clusters.csv")
    before = members(rows)
    named: set[str] = set()
    for row in rows:
        if row["cluster"] == "2" and by == "moves":
            row["cluster"] = "1"
        elif row["cluster"] in "12" and (by == "names" or (by != "moves" and row["cluster"] not in named)):
            row["name"] = "Manuel"
            named.add(row["cluster"])
    log = Recorder()
    out = go(log, corrections=str(write(tmp_path / "e.csv", rows)), n_clusters=n_clusters, **comic)
    after = read(out / "clusters.csv")
    assert sorted(map(sorted, members(after).values())) == sorted(
        map(sorted, [before["1"] | before["2"], before["3"], before["4"]])
    )
    assert {r["name"] for r in after if r["face_id"] in before["1"] | before["2"]} == {
        "" if by == "moves" else "Manuel"
    }
    asked = "cluster: there are 3 clusters, not 4: those of the table hold"
    assert any(line.startswith(asked) for line in log.lines) == (n_clusters == "4")
    text = (out / "clusters.csv").read_bytes()
    go(corrections=str(out / "clusters.csv"), n_clusters=n_clusters, **comic)
    assert (out / "clusters.csv").read_bytes() == text


@pytest.mark.parametrize("method", ["agglomerative", "hdbscan", "silhouette"])
def test_an_untouched_table_is_read_back_as_it_is(go: Go, method: str) -> None:
    """Whatever made it; frames that another method did not look at change nothing, nor does adaptation."""
    out = go(method=method)
    text = (out / "clusters.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbfface_id")
    log = Recorder()
    go(log, corrections=str(out / "clusters.csv"), threshold="auto")
    assert (out / "clusters.csv").read_bytes() == text
    assert not any("of cluster" in line for line in log.lines)


def test_other_methods_say_that_they_do_not_hold_to_decisions(go: Go, tmp_path: Path) -> None:
    """Names are kept all the same."""
    rows = read(go() / "clusters.csv")
    rows[0]["name"] = "Aki"
    log = Recorder()
    out = go(log, previous=str(write(tmp_path / "e.csv", rows)), method="hdbscan")
    assert "cluster: hdbscan does not hold to the 1 faces that were decided by hand" in log.lines
    assert {row["decided"] for row in read(out / "clusters.csv")} == {""}


def test_rows_of_a_previous_table_that_are_not_found_are_told(go: Go, tmp_path: Path) -> None:
    """With the names that nobody bears now; as corrections such a table is refused."""
    comic = drawn(tmp_path / "comic")
    rows = read(go(n_clusters="4", **comic) / "clusters.csv")
    for row in rows:
        row["name"] = {"1": "Aki", "2": "Ben"}.get(row["cluster"], "")
        if row["cluster"] == "1":
            row["face_id"] = "1.00E+05" + row["face_id"][:1] + row["ymin"] + row["page"]
    table = write(tmp_path / "excel.csv", rows)
    log = Recorder()
    go(log, n_clusters="4", previous=str(table), **comic)
    lost = sum(row["cluster"] == "1" for row in rows)
    assert any(f"{lost} of the 12 rows of {table} are no face of this result (line" in x for x in log.lines)
    assert any("let the spreadsheet read the column face_id as text" in line for line in log.lines)
    assert "cluster: nobody is called Aki any more" in log.lines
    with pytest.raises(UserError, match="is not in the comic"):
        go(n_clusters="4", corrections=str(table), **comic)


@pytest.mark.parametrize("adapt", [False, True])
def test_one_face_boxed_twice_is_one_person(go: Go, tmp_path: Path, adapt: bool) -> None:
    """Although both boxes lie in one frame; and that is said."""
    log = Recorder()
    comic = drawn(tmp_path / "comic", twice=True, frames=True)
    rows = read(go(log, n_clusters="4", adapt=adapt, **comic) / "clusters.csv")
    assert any("two boxes are of one face 12 times" in line for line in log.lines)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["cluster"] == second["cluster"]
    for page in range(3):
        assert len({row["cluster"] for row in rows[8 * page : 8 * page + 8]}) == 4


@pytest.mark.parametrize("method", ["agglomerative", "hdbscan", "silhouette"])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_equal_faces_are_one_cluster_for_each_method(go: Go, tmp_path: Path, method: str, n: int) -> None:
    """One, two or six copies of one picture."""
    (tmp_path / "faces").mkdir()
    for i in range(n):
        shutil.copy(PAGES / "000.jpg", tmp_path / "faces" / f"{i}.jpg")
    out = go(input=str(tmp_path / "faces"), title="", method=method)
    assert len({row["cluster"] for row in read(out / "clusters.csv")}) == 1


def test_pages_without_faces_are_exported_in_their_size(go: Go, tmp_path: Path) -> None:
    """And pictures by their names, also those of a title in Manga109 layout."""
    comic = drawn(tmp_path / "comic")
    Image.new("L", (50, 60)).save(tmp_path / "comic" / "pages" / "004.png")
    out = go(n_clusters="4", **comic)
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [(i["file_name"], i["width"], i["height"]) for i in images][2:] == [
        ("003.png", 420, 300),
        ("004.png", 50, 60),
    ]
    assert 'width="0"' not in (out / "manga109.xml").read_text()
    for image in json.loads((go(overwrite=True) / "coco.json").read_text())["images"]:
        assert (ROOT / "images" / image["file_name"]).is_file()


def test_names_are_compared_in_one_unicode_form(go: Go, tmp_path: Path) -> None:
    """A name typed on two systems is one person; so is a file, in whichever form the table names it."""
    (tmp_path / "faces").mkdir()
    for i, path in enumerate(sorted(PAGES.iterdir())[:4]):
        shutil.copy(path, tmp_path / "faces" / unicodedata.normalize("NFD", f"ガ{i}.jpg"))
    comic = {"input": str(tmp_path / "faces"), "title": ""}
    rows = read(go(n_clusters="4", **comic) / "clusters.csv")
    for row, form in zip(rows, ("NFC", "NFD", "NFC"), strict=False):
        row["face_id"] = unicodedata.normalize("NFC", row["face_id"])
        row["name"] = unicodedata.normalize(form, "ガンバ")
    after = read(go(corrections=str(write(tmp_path / "e.csv", rows)), **comic) / "clusters.csv")
    assert [row["name"] for row in after] == [unicodedata.normalize("NFC", "ガンバ")] * 3 + [""]
    assert len(members(after)) == 2
    assert {row["face_id"] for row in after} == {path.name for path in (tmp_path / "faces").iterdir()}


def test_through_the_command_line(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new user types it: the result's folder is printed, and the run holds the table and the gallery."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    Path("small.yaml").write_text("preprocess: {size: 37, color: false, jobs: 1}\nfinetune: {epochs: 1}\n")
    arguments = ["cluster", "--experiment", "small.yaml", "--input", str(ROOT), "--title", TITLE]
    arguments += ["--model", str(model), "--device", "cpu"]

    def invoke(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*arguments, *more])
        return result.exit_code, result.output

    code, text = invoke()
    assert code == 2
    assert "give --n_clusters" in text, "nothing to learn a cut from"
    code, text = invoke("--n_clusters", "15", "--epochs", "1")
    assert code == 0, text
    out = tmp_path / "work" / "small" / "cluster" / TITLE
    assert text.strip().splitlines()[-1] == str(out)
    [run] = mlflow.search_runs(
        search_all_experiments=True, filter_string="status = 'FINISHED'", output_format="list"
    )
    assert run.data.metrics["cluster/clusters"] == 15
    names = {a.path for a in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"clusters.csv", "coco.json", "manga109.xml", "cluster.json", "gallery.html"} <= names
    assert invoke("--n_clusters", "15", "--input", "nowhere")[0] == 2


def test_a_table_without_ids_for_pages_of_another_size(go: Go, tmp_path: Path) -> None:
    """The boxes are scaled and it is said; a table of version 0.1, whose ids look like numbers, is read."""
    lines = ["page,kind,xmin,ymin,xmax,ymax,image_width,image_height"]
    for page in open_corpus(ROOT).read_book(TITLE).pages[:8]:
        for x in range(0, 400, 35):
            box = f"{x},{x // 2},{x + 40},{x // 2 + 40}"
            lines.append(f"{page.index:03d}.jpg,face,{box},{2 * page.width},{2 * page.height}")
    lines.append("003.jpg,text,0,0,9,9,827,585")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("\n".join(lines))
    log = Recorder()
    given = {"input": str(PAGES), "title": "", "boxes": str(boxes), "n_clusters": "9", "min_side": 0}
    rows = read(go(log, **given) / "clusters.csv")
    assert any(x.startswith("cluster: the boxes of ") and "are scaled" in x for x in log.lines)
    assert any("are left out: 1 text" in line for line in log.lines)
    changed = [row for row in rows if re.fullmatch(r"f\d+(e\d+)?", row["face_id"])]
    assert changed
    names = {row["face_id"]: f"n{i}" for i, row in enumerate(changed[:3])}
    for row in changed:
        row["name"] = names.get(row["face_id"], "")
        row["face_id"] = "7" + row["face_id"][1:]
    now = by_face(go(corrections=str(write(tmp_path / "old.csv", rows)), **given) / "clusters.csv")
    assert {face: now[face]["name"] for face in names} == names
