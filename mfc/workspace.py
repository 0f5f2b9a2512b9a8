"""Every file and folder below ``work_dir``, by name, once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mfc.errors import UserError


@dataclass(frozen=True)
class Workspace:
    """Where the outputs of one experiment live."""

    work: Path
    experiment: str

    @property
    def root(self) -> Path:
        return self.work / self.experiment

    def check_writable(self) -> None:
        """Refuse a working folder that cannot be written, before any work is done.

        Raises:
            UserError: naming the folder.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UserError(
                f"--work_dir {self.work}: cannot be written ({reason}); choose another folder"
            ) from None

    @property
    def corpus(self) -> Path:
        """The drawn corpus."""
        return self.root / "corpus"

    @property
    def faces(self) -> Path:
        """The face store."""
        return self.root / "faces"

    @property
    def digests(self) -> Path:
        """Which pictures were read before, and what was in them."""
        return self.root / "digests.json"

    @property
    def pretrained(self) -> Path:
        """Parent of the pre-trained encoders, each in a folder named after its key."""
        return self.root / "pretrain"

    @property
    def current_encoder(self) -> Path:
        """Which pre-trained encoder was made last."""
        return self.pretrained / "current.json"

    def adapted(self, title: str) -> Path:
        """Parent of the encoders adapted to a title, each in a folder named after its key."""
        return self.root / "finetune" / title

    @property
    def fetched(self) -> Path:
        """Parent of the encoders taken from the registry, a folder a version."""
        return self.root / "fetched"

    @property
    def scores(self) -> Path:
        """The scorebook."""
        return self.root / "scores"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def cast(self, comic: str) -> Path:
        """The result of `mfc cluster` for a comic."""
        return self.root / "cluster" / comic

    @property
    def cut_comics(self) -> Path:
        """Parent of the cut faces of comics without labels."""
        return self.root / "cluster" / ".work" / "faces"

    @property
    def adapted_to_comics(self) -> Path:
        """Parent of the encoders adapted to comics without labels."""
        return self.root / "cluster" / ".work" / "adapted"
