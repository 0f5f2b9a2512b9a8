"""Measure all rows: ``python -m benchmarks [--quick] [--whole] [--mlflow] [--json FILE]``."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Measured
from mfc.files import write_json


def rows(quick: bool, whole: bool) -> Iterator[Measured]:
    """Every row. To add some, write a function that yields `Measured` and chain it here."""
    from benchmarks import data, numerics, synthetic, training

    return itertools.chain(
        numerics.run(quick, whole), data.run(quick), training.run(quick), synthetic.run(quick)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table row by row, and write it as JSON with machine, commit and versions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    parser.add_argument("--whole", action="store_true", help="all of scikit-learn's restarts, half an hour")
    parser.add_argument("--mlflow", action="store_true", help="also log to MLflow")
    parser.add_argument("--json", type=Path, default=Path("work/benchmark.json"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    measured = []
    for row in rows(options.quick, options.whole):
        measured.append(row)
        print(" | ".join(cell for cell in harness.cells(row) if cell), flush=True)
    print("\n" + harness.markdown(measured))
    report = harness.report(measured)
    write_json(options.json, report)
    print(f"written to {options.json}")
    if options.mlflow:
        log_to_mlflow(report, measured, options.json)


def log_to_mlflow(report: Mapping[str, Any], measured: Sequence[Measured], path: Path) -> None:
    """A run in the experiment `benchmarks`: ratios and seconds are metrics, table and JSON artifacts."""
    import statistics

    from mfc.tracking import open_run

    tags = {"commit": report["commit"], "processor": report["machine"]["processor"]}
    with open_run(
        experiment="benchmarks", name="benchmarks", stage="benchmarks", tags=tags, work_dir=path.parent
    ) as run:
        for row in measured:
            name = "".join(c if c.isalnum() else "_" for c in f"{row.name} {row.baseline}".strip(" –"))
            values = {f"seconds/{name}": statistics.median(row.ours_s)}
            if row.baseline_s:
                values[f"ratio/{name}"] = row.ratio
            run.metrics(values, row.n)
        run.text("benchmarks.md", harness.markdown(measured))
        run.file(path)


if __name__ == "__main__":
    main()
