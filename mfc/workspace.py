"""Every file and folder below ``work_dir``, by name, once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Where the outputs of one experiment live."""

    work: Path
    experiment: str

    @property
    def root(self) -> Path:
        return self.work / self.experiment

    @property
    def corpus(self) -> Path:
        return self.root / "corpus"

    @property
    def store(self) -> Path:
        return self.root / "faces"

    @property
    def pretrained(self) -> Path:
        return self.root / "pretrain"

    def evaluated(self, split: str) -> Path:
        return self.root / "evaluate" / split

    def adapted(self, title: str) -> Path:
        return self.root / "finetune" / title
