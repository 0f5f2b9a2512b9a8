"""What a plan amounts to, in the measures that the presets are calibrated to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from mfc.corpus.synthetic.story import Story

MANGA109 = {
    "frames a page": 10.3, "faces a page": 11.7, "bodies a page": 15.5, "texts a page": 14.6,
    "frames p10": 6, "frames p50": 11, "frames p90": 14,
    "frames without face": 0.20, "frames with 1 face": 0.54, "frames with 2 faces": 0.19,
    "frames with 3 or more": 0.06,
    "face width p5": 29, "face width p25": 54, "face width p50": 77, "face width p75": 119,
    "face width p95": 196,
    "faces with a side of at most 30": 0.07, "face aspect p5": 0.76, "face aspect p95": 1.37,
    "faces a title": 1089, "characters a title": 29, "characters with 10 faces": 12,
    "pages a title p50": 97, "others a title": 1,
}  # fmt: skip
"""The real corpus, per annotated double page of 1654 x 1170 and per volume."""


def measure(stories: Iterable[Story]) -> dict[str, float]:
    """The measures of `MANGA109` for planned titles; pages without any annotation do not count."""
    frames, faces, bodies, texts, widths, heights = [], [], [], [], [], []
    in_frame: Counter[int] = Counter()
    people, famous, lengths, others, totals = [], [], [], [], []
    for story in stories:
        seen: Counter[int] = Counter()
        lengths.append(len(story.pages))
        others.append(float(story.other is not None))
        people.append(len(story.names))
        for page in story.pages:
            if not page.frames:
                continue
            shown = [f for f in page.figures if f.face is not None]
            frames.append(len(page.frames) if page.framed else 0)
            faces.append(len(shown))
            bodies.append(sum(f.body is not None for f in page.figures))
            texts.append(len(page.texts))
            for figure in shown:
                assert figure.face is not None
                x0, y0, x1, y1 = figure.face
                widths.append(x1 - x0)
                heights.append(y1 - y0)
                seen[figure.character] += 1
            held = Counter(f.frame for f in shown)
            in_frame.update(held[number] for number in range(len(page.frames) if page.framed else 0))
        totals.append(sum(seen.values()))
        famous.append(sum(n >= 10 for who, n in seen.items() if who != story.other))
    width, height = np.array(widths), np.array(heights)
    cells = max(1, sum(in_frame.values()))
    result = {
        "frames a page": np.mean(frames),
        "faces a page": np.mean(faces),
        "bodies a page": np.mean(bodies),
        "texts a page": np.mean(texts),
        **{f"frames p{p}": np.percentile(frames, p) for p in (10, 50, 90)},
        "frames without face": in_frame[0] / cells,
        "frames with 1 face": in_frame[1] / cells,
        "frames with 2 faces": in_frame[2] / cells,
        "frames with 3 or more": sum(n for k, n in in_frame.items() if k >= 3) / cells,
        **{f"face width p{p}": np.percentile(width, p) for p in (5, 25, 50, 75, 95)},
        "faces with a side of at most 30": np.mean((width <= 30) | (height <= 30)),
        **{f"face aspect p{p}": np.percentile(width / height, p) for p in (5, 95)},
        "faces a title": np.mean(totals),
        "characters a title": np.mean(people),
        "characters with 10 faces": np.mean(famous),
        "pages a title p50": np.median(lengths),
        "others a title": np.mean(others),
    }
    return {name: float(value) for name, value in result.items()}
