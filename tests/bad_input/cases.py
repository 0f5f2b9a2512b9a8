"""The catalogue of bad input: what is typed, and the files that it names. Messages stand in messages.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

Content = str | bytes | None
"""Of a file; None: a folder."""
TINY = ("--experiment", "tiny")


@dataclass(frozen=True)
class Case:
    """One call that a person can mend."""

    name: str
    arguments: tuple[str, ...]
    files: dict[str, Content] = field(default_factory=dict)


WRONG = """
finetune title_idx=x title_idx=-1 title_idx=1.5 title_idx=99 seeds= seeds=a seeds=1,1 seeds=-1
finetune seeds=4294967296 seeds=0,
finetune page_range=-2 page_range=100000000000000000000 top_n=0 top_n=999999999 tau=3 tau=nan lr=1e30
finetune lr=-1 lr=inf lr=fast epochs=0 epochs=1e3 epochs=99999999999 batch_size=1 momentum=2 weight_decay=-0.1
finetune recipe=soup split=dev checkpoint_every=0 eval_every=-1 n_init=0 rounds=0 mining=coal sampling=none
finetune loss=l2 temperature=0 frame_mates=perhaps register=perhaps figures=2 precision=float8
pretrain image_size=100000000 image_size=8 image_size=big backbone=vgg16 min_faces=0 gamma=0.5 seed=4294967296
pretrain seed=-1 eval_titles=0 compile=maybe epochs=
preprocess size=4 size=99999 min_side=-1 others=all jobs=-1 jobs=9999 color=blue strict=very
synthesize preset=huge seed=x jobs=1.0
cluster n_clusters=many n_clusters=0 n_clusters=-3 threshold=high threshold=-1 method=magic min_side=x
cluster adapt=later epochs=0
report resamples=1000000000000 resamples=10 confidence=1 confidence=0.1 confidence=nan seed=-5
compare runs= runs=one runs=a,a runs=a,b,c runs=,b
promote metric=ami metric=dev/ami metric=val/beauty min_gain=-1
evaluate n_init=none batch_size=0 title_idx=2
main finetune.title_idx=7 evaluate.title_idx=7 pretrain.epochs=none finetune.seeds=0,0 cluster.n_clusters=x
main log_images=sometimes overwrite=do
"""


def values() -> Iterator[Case]:
    """Values that are not of their parameter."""
    for line in WRONG.strip().splitlines():
        command, *pairs = line.split()
        for pair in pairs:
            option, _, value = pair.partition("=")
            shown = value[:24] or "empty"
            yield Case(f"{command} --{option} {shown}", (command, *TINY, f"--{option}", value))


def spellings() -> Iterator[Case]:
    """Commands, options and experiments that are not there."""
    yield Case("unknown command", ("finetun",))
    yield Case("unknown option", ("finetune", "--titel_idx", "1"))
    yield Case("unknown option of main", ("main", "--finetune.epocs", "1"))
    yield Case("unknown experiment", ("pretrain", "--experiment", "nope"))
    yield Case("option without value", ("finetune", "--lr"))
    yield Case(
        "custom piece with the paper's recipe", ("finetune", *TINY, "--loss", "supervised_contrastive")
    )
    texts: dict[str, Content] = {
        "misspelt stage": "pretrian: {epochs: 3}",
        "misspelt key": "about: x\npretrain: {epoch: 3}",
        "bad value": "pretrain: {epochs: many}",
        "no mapping": "- a",
        "scalar stage": "pretrain: 3",
        "number as a stage": "3: {epochs: 3}",
        "list as a value": "finetune: {seeds: [0, 1]}",
        "broken YAML": "pretrain: {",
        "a tag": "pretrain: !!python/object/apply:os.system [echo]",
        "deep YAML": "[" * 3000,
        "not UTF-8": b"about: \xff\xfe",
        "NUL": b"about: \0",
        "bad seeds": "finetune: {seeds: '0,0'}",
    }
    for name, text in texts.items():
        yield Case(f"experiment: {name}", ("statistics", "--experiment", "mine.yaml"), {"mine.yaml": text})
    yield Case("experiment: a folder", ("statistics", "--experiment", "mine.yaml"), {"mine.yaml/": None})


XML = """<?xml version="1.0" encoding="UTF-8"?>
<book title="T"><characters><character id="00000001" name="Aki"/></characters><pages>\
<page index="0" width="200" height="100"><face id="00000003" xmin="5" ymin="5" xmax="60" ymax="70" \
character="00000001"/></page></pages></book>"""


def picture(size: tuple[int, int] = (200, 100)) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.new("L", size, 200).save(buffer, "PNG")
    return buffer.getvalue()


def corpus(**changes: Content) -> dict[str, Content]:
    """A corpus of one title and one page below ``c``, with files changed or, by an empty text, taken away."""
    files: dict[str, Content] = {
        "c/books.txt": "T\n",
        "c/annotations.v2018.05.31/T.xml": XML,
        "c/images/T/000.jpg": picture(),
    }
    files |= {f"c/{name}": content for name, content in changes.items()}
    return {name: content for name, content in files.items() if content != ""}


def corpora() -> Iterator[Case]:
    """Corpora in the Manga109 layout."""
    call = ("preprocess", "--manga109_root", "c")
    xml = "annotations.v2018.05.31/T.xml"
    yield Case("no corpus", call)
    yield Case("a corpus without books.txt", call, corpus(**{"books.txt": ""}))
    yield Case("a corpus without images", call, corpus(**{"images/T/000.jpg": ""}))
    yield Case("a corpus without its annotations", call, corpus(**{xml: ""}))
    yield Case("an empty books.txt", call, corpus(**{"books.txt": "\n"}))
    yield Case("books.txt that is not UTF-8", call, corpus(**{"books.txt": b"\xff\xfeT"}))
    yield Case("a title twice", call, corpus(**{"books.txt": "T\nT\n"}))
    yield Case("a title that climbs", call, corpus(**{"books.txt": "../T\n"}))
    yield Case("a title of 300 letters", call, corpus(**{"books.txt": "T" * 300 + "\n"}))
    yield Case("a title without annotation", call, corpus(**{"books.txt": "T\nU\n"}))
    changed = {
        "not well-formed": XML.replace("</pages>", ""),
        "UTF-16": XML.encode("utf-16"),
        "an entity": XML.replace("<book", '<!DOCTYPE b [<!ENTITY x "y">]><book'),
        "no book": "<a/>",
        "a negative index": XML.replace('index="0"', 'index="-1"'),
        "an index that is no number": XML.replace('index="0"', 'index="first"'),
        "an index twice": XML.replace("</page>", '</page><page index="0" width="200" height="100"></page>'),
        "a corner that is no number": XML.replace('xmin="5"', 'xmin="five"'),
        "a missing corner": XML.replace('xmin="5"', ""),
        "swapped corners": XML.replace('xmin="5"', 'xmin="90"'),
        "an id that climbs": XML.replace("00000003", "../x"),
        "a character without id": XML.replace('id="00000001" ', ""),
        "no face": XML[: XML.index("<face")] + "</page></pages></book>",
    }
    for name, text in changed.items():
        yield Case(f"annotation: {name}", (*call, "--strict", "true"), corpus(**{xml: text}))
    yield Case("annotation folder that climbs", (*call, "--annotations", "../x"), corpus())
    yield Case("annotation folder that is not there", (*call, "--annotations", "annotations.v9"), corpus())
    for name, content in {
        "text for a picture": b"hello",
        "an empty picture": b"",
        "half a picture": picture()[:60],
    }.items():
        files = corpus()
        files["c/images/T/000.jpg"] = content
        yield Case(f"picture: {name}", (*call, "--strict", "true"), files)
    for name, text in {
        "no JSON": "{",
        "not a mapping": "[]",
        "another split": '{"dev": ["T"]}',
        "a title that is not there": '{"train": ["U"]}',
        "a title twice": '{"train": ["T"], "test": ["T"]}',
        "no title": "{}",
        "a list of numbers": '{"train": [3]}',
        "deep": "[" * 100_000,
    }.items():
        yield Case(f"splits: {name}", (*call, "--splits", "s.json"), corpus() | {"s.json": text})
    yield Case("splits: no file", (*call, "--splits", "s.json"), corpus())


def boxes() -> Iterator[Case]:
    """Boxes of the faces of comics without labels."""
    page: dict[str, Content] = {"p/001.png": picture()}
    call = ("cluster", *TINY, "--input", "p", "--n_clusters", "1", "--adapt", "false", "--boxes")
    good = {
        "images": [{"id": 1, "file_name": "001.png", "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "bbox": [5, 5, 50, 60]}],
    }

    def coco(**changes: object) -> str:
        return json.dumps({**good, **changes})

    annotation = good["annotations"][0]
    tables = {
        "no JSON": "{",
        "a list": "[]",
        "no images": json.dumps({"annotations": []}),
        "images that are no list": coco(images={}),
        "an image without id": coco(images=[{"file_name": "001.png"}]),
        "an image twice": coco(images=good["images"] * 2 + [{"id": 1, "file_name": "002.png"}]),
        "a picture that is not there": coco(images=[{"id": 1, "file_name": "009.png"}]),
        "another size": coco(images=[{"id": 1, "file_name": "001.png", "width": 300, "height": 100}]),
        "an unknown image": coco(annotations=[{**annotation, "image_id": 5}]),
        "an undeclared category": coco(annotations=[{**annotation, "category_id": 5}]),
        "three sides": coco(annotations=[{**annotation, "bbox": [1, 2, 3]}]),
        "a side that is a text": coco(annotations=[{**annotation, "bbox": [1, 2, 3, "x"]}]),
        "an empty box": coco(annotations=[{**annotation, "bbox": [5, 5, 0, 60]}]),
        "a box outside": coco(annotations=[{**annotation, "bbox": [500, 5, 50, 60]}]),
        "no face": coco(annotations=[]),
        "an id twice": coco(annotations=[annotation, {**annotation, "bbox": [90, 5, 50, 60]}]),
        "deep": "[" * 100_000,
    }
    for name, text in tables.items():
        yield Case(f"COCO: {name}", (*call, "b.json"), page | {"b.json": text})
    head = "page,xmin,ymin,xmax,ymax\n"
    sheets: dict[str, Content] = {
        "empty": "",
        "no column for the page": "xmin,ymin,xmax,ymax\n1,1,9,9\n",
        "no corners": "page\n001.png\n",
        "a column twice": "page,page,xmin,ymin,xmax,ymax\n1,1,1,1,9,9\n",
        "a text for a number": head + "001.png,5,5,fifty,60\n",
        "too many cells": head + "001.png,5,5,50,60,7,8\n",
        "a page that is not there": head + "002.png,5,5,50,60\n",
        "swapped corners": head + "001.png,50,5,5,60\n",
        "not UTF-8": b"page,xmin\n\xff\xfe\xfa",
        "an open quote": head + '"001.png,5,5,50,60\n',
        "unknown kinds": "page,kind,xmin,ymin,xmax,ymax\n001.png,tree,5,5,50,60\n001.png,house,5,5,60,60\n",
    }
    for name, content in sheets.items():
        yield Case(f"CSV: {name}", (*call, "b.csv"), page | {"b.csv": content})
    yield Case("boxes: no file", (*call, "none.csv"), page)
    yield Case("boxes: a folder", (*call, "p"), page)
    yield Case("no input", ("cluster", *TINY))
    yield Case("an input that is not there", ("cluster", *TINY, "--input", "nowhere"))
    yield Case("an input without pictures", ("cluster", *TINY, "--input", "p"), {"p/": None})
    yield Case("frames without boxes", ("cluster", *TINY, "--input", "p", "--frames", "f.csv"), page)
    yield Case("both tables", (*call, "b.csv", "--corrections", "a", "--previous", "b"), page)
    yield Case(
        "corrections with k-means", (*call, "b.csv", "--corrections", "a", "--method", "hdbscan"), page
    )
    yield Case(
        "out is a file",
        (*call, "b.csv", "--out", "o"),
        page | {"b.csv": head + "001.png,5,5,50,60\n", "o": "x"},
    )


def others() -> Iterator[Case]:
    """Stores, encoders, runs and folders."""
    yield Case("a store that is not there", ("evaluate", *TINY, "--store", "nowhere"))
    yield Case("a folder that is no store", ("evaluate", *TINY, "--store", "s"), {"s/": None})
    for name, text in {
        "no JSON": "{",
        "a list": "[]",
        "another schema": '{"schema": 0}',
        "no splits": '{"schema": 2}',
    }.items():
        yield Case(f"store: {name}", ("evaluate", *TINY, "--store", "s"), {"s/store.json": text})
    yield Case("an encoder that is not there", ("evaluate", *TINY, "--store", "nowhere", "--model", "none"))
    yield Case("no checkpoint", ("import_checkpoint", "none.pth"))
    yield Case("a checkpoint that is a text", ("import_checkpoint", "m.pth"), {"m.pth": "hello"})
    yield Case("a checkpoint that is empty", ("import_checkpoint", "m.pth"), {"m.pth": b""})
    yield Case("a checkpoint of no class", ("import_checkpoint", "m.pth", "--classes", "0"), {"m.pth": b""})
    yield Case("a working folder that is a file", ("statistics", *TINY, "--work_dir", "w"), {"w": "x"})
    yield Case("a working folder below a file", ("statistics", *TINY, "--work_dir", "w/v"), {"w": "x"})
    yield Case("synthesize into a file", ("synthesize", "--preset", "tiny", "--out", "o"), {"o": "x"})
    yield Case(
        "synthesize over something else",
        ("synthesize", "--preset", "tiny", "--out", "o"),
        {"o/mine.txt": "x"},
    )
    yield Case("no dataset", ("import_openmantra",))
    yield Case("a dataset that is not there", ("import_openmantra", "--input", "none", "--out", "o"))
    yield Case("nothing to verify", ("verify", "--path", "empty"), {"empty/": None})
    yield Case("no Manga109", ("preprocess", "--experiment", "paper"))
    yield Case("two runs that are not there", ("compare", *TINY, "--runs", "a,b"))


CASES = [case for make in (values, spellings, corpora, boxes, others) for case in make()]


def lay_out(case: Case, folder: Path) -> None:
    """Write the files of a case."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
