"""Preprocessing against decoding the pages alone; batches from the face store against one image at a time.

Each measurement gives the times of a baseline and of our way, taken in turns on the same input.
Run ``python -m benchmarks.data [--quick]`` to see only these rows.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from benchmarks.harness import Measured, in_turns
from mfc.config import Preprocess
from mfc.log import PrintLog
from mfc.processes import available_cores
from mfc.stages.preprocess import preprocess

PAGE = (1654, 1170)
FACES_A_PAGE = 12
# Quantiles 5, 25, 50, 75, 95 of the face widths of the real corpus, pixels.
FACE_SIDES = (29, 54, 77, 119, 196)
IMAGE_SIZE, RESIZED = 224, 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def run(quick: bool = False) -> Iterator[Measured]:
    """All rows of this file."""
    yield from input_pipeline((256,) if quick else (256, 1024, 4096), repeats=3 if quick else 5)
    yield from preprocessing((96,) if quick else (96, 384, 1536), repeats=1 if quick else 3)


def input_pipeline(sizes: Sequence[int], repeats: int) -> Iterator[Measured]:
    """One thread, from crops on the disk to normalised batches of 64 x 3 x 224 x 224, with augmentation."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            for n in sizes:
                folder = Path(name) / str(n)
                folder.mkdir()
                files, crops = _crops(folder, n)
                rows = np.random.default_rng(0).permutation(n)
                for label, source in (("JPEG files", files), ("decoded crops", list(crops))):
                    baseline = _per_image_pipeline(source, rows)
                    times = in_turns(baseline, _our_pipeline(crops, rows), repeats)
                    yield Measured("input pipeline, a thread", n, "images", f"torchvision, {label}", *times)
    finally:
        torch.set_num_threads(threads)


def _per_image_pipeline(
    source: Sequence[Path] | Sequence[npt.NDArray[np.uint8]], rows: npt.NDArray[np.int64]
) -> Callable[[], None]:
    """What a DataLoader worker of the reference does: open, stretch, cut, mirror, gamma, normalise, stack."""
    import torch
    from torchvision import transforms

    def gamma(values: Any) -> Any:
        return values ** float(np.random.default_rng().uniform(0.5, 2.0))

    pipeline = transforms.Compose(
        [
            transforms.Resize((RESIZED, RESIZED)),
            transforms.RandomCrop(IMAGE_SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            gamma,
            transforms.Normalize(MEAN, STD),
        ]
    )

    def work() -> None:
        for start in range(0, len(rows), 64):
            images = []
            for row in rows[start : start + 64]:
                item = source[row]
                image = Image.open(item) if isinstance(item, Path) else Image.fromarray(item)
                images.append(pipeline(image.convert("RGB")))
            torch.stack(images)

    return work


def _our_pipeline(crops: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Callable[[], None]:
    import torch

    from mfc.faces.batches import batches, draw_choices, transform

    generator = torch.Generator().manual_seed(0)

    def work() -> None:
        for positions, batch in batches(crops, rows, batch_size=64, device="cpu"):
            choices = draw_choices(
                len(positions), margin=RESIZED - IMAGE_SIZE, gamma=2.0, generator=generator
            )
            transform(batch, choices, image_size=IMAGE_SIZE, mean=MEAN, std=STD)

    return work


def _crops(folder: Path, n: int) -> tuple[list[Path], npt.NDArray[np.uint8]]:
    """``n`` face crops as JPEG files of their own size, and as the store keeps them."""
    from mfc.faces.cut import stretch
    from mfc.faces.store import new_crops

    rng = np.random.default_rng(0)
    page = draw_page(rng)
    crops = new_crops(folder, n, RESIZED, 3)
    files = []
    for i in range(n):
        side = 2 * max(int(np.interp(rng.random(), (0.05, 0.25, 0.5, 0.75, 0.95), FACE_SIDES)), 31)
        left, top = (int(rng.integers(0, limit - side)) for limit in PAGE)
        crop = page.crop((left, top, left + side, top + side)).convert("RGB")
        files.append(folder / f"{i}.jpg")
        crop.save(files[-1], quality=95)
        crops[i] = stretch(crop, RESIZED, 3)
    return files, crops


def preprocessing(sizes: Sequence[int], repeats: int) -> Iterator[Measured]:
    """A whole store of grey or colour pages, made from nothing, against decoding the same pages alone.

    Decoding runs in as many threads (Pillow lets go of the interpreter), so it pays for no process to start.
    """
    jobs = available_cores()
    with tempfile.TemporaryDirectory() as name:
        for n in sizes:
            for mode, kind in (("L", "grey"), ("RGB", "colour")):
                root, store = Path(name) / f"{kind}{n}", Path(name) / "store"
                paths = write_corpus(root, n, mode)

                def ours(root: Path = root, store: Path = store) -> None:
                    preprocess(Preprocess(jobs=jobs), root, store, _Silent())
                    shutil.rmtree(store)

                def baseline(paths: list[Path] = paths) -> None:
                    with ThreadPoolExecutor(jobs) as executor:
                        for _ in executor.map(_decode, paths):
                            pass

                times = in_turns(baseline, ours, repeats)
                name_of_row = f"preprocess, {kind} pages, {jobs} cores"
                yield Measured(name_of_row, n, "pages", "decode only", *times, "≥ 0.6×")


class _Silent(PrintLog):
    def say(self, message: str) -> None:
        del message


def _decode(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def write_corpus(root: Path, n: int, mode: str) -> list[Path]:
    """One title with ``n`` double pages of the real size and number of faces; returns the pictures."""
    rng = np.random.default_rng(0)
    title, annotations = "Benchmark", Preprocess().annotations
    (root / annotations).mkdir(parents=True)
    (root / "images" / title).mkdir(parents=True)
    (root / "books.txt").write_text(f"{title}\n", encoding="utf-8")
    drawn = [draw_page(rng).convert(mode) for _ in range(min(n, 6))]
    pages, paths = [], []
    for index in range(n):
        paths.append(root / "images" / title / f"{index:03d}.jpg")
        drawn[index % len(drawn)].save(paths[-1], quality=90)
        faces = ""
        for _ in range(FACES_A_PAGE):
            side = int(np.interp(rng.random(), (0.05, 0.25, 0.5, 0.75, 0.95), FACE_SIDES))
            left, top = (int(rng.integers(0, limit - side)) for limit in PAGE)
            faces += (
                f'<face id="{rng.integers(2**32):08x}" character="0000000a" xmin="{left}" ymin="{top}" '
                f'xmax="{left + side}" ymax="{top + side}"/>'
            )
        pages.append(f'<page index="{index}" width="{PAGE[0]}" height="{PAGE[1]}">{faces}</page>')
    characters = '<characters><character id="0000000a" name="A"/></characters>'
    xml = f'<book title="{title}">{characters}<pages>{"".join(pages)}</pages></book>'
    (root / annotations / f"{title}.xml").write_text(xml, encoding="utf-8")
    return paths


def draw_page(rng: np.random.Generator) -> Image.Image:
    """A grey page with what makes comics slow to decode: lines, screentone, scanning noise."""
    width, height = PAGE
    page = Image.new("L", PAGE, 245)
    draw = ImageDraw.Draw(page)
    y, x = np.mgrid[:height, :width]
    dots = Image.fromarray(np.where((x + y) % 6 + (x - y) % 6 < 4, 60, 235).astype(np.uint8))
    for _ in range(8):
        left, top = int(rng.integers(0, width)), int(rng.integers(0, height))
        side = int(rng.integers(60, 300))
        page.paste(dots.crop((left, top, left + side, top + side)), (left, top))
    for _ in range(250):
        start = rng.integers(0, PAGE)
        end = start + rng.integers(-120, 120, 2)
        draw.line(
            [*start.tolist(), *end.tolist()], fill=int(rng.integers(0, 60)), width=int(rng.integers(1, 5))
        )
    noise = rng.normal(0, 1, (height, width))
    return Image.fromarray((np.asarray(page) + noise).clip(0, 255).astype(np.uint8))


def main() -> None:
    """Print a line for each row."""
    print(f"{'what':36} {'n':>6} {'baseline':30} {'baseline/s':>11} {'ours/s':>9} {'ratio':>6}")
    for row in run(quick="--quick" in sys.argv[1:]):
        rates = [row.n / statistics.median(times) for times in (row.baseline_s, row.ours_s)]
        print(f"{row.name:36} {row.n:6} {row.baseline:30} {rates[0]:11.0f} {rates[1]:9.0f} {row.ratio:6.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
