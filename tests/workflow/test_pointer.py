"""Which encoder an experiment made last."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfc.config import Where
from mfc.errors import UserError
from mfc.workflow.encoders import current_encoder
from mfc.workflow.session import open_session


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "\ufeff{}", "[" * 100_000])
def test_a_damaged_pointer_is_named(tmp_path: Path, text: str) -> None:
    """File and remedy, no stack trace; without the file there is none."""
    session = open_session(Where(experiment="tiny", work_dir=str(tmp_path)), {}, print)
    assert current_encoder(session) is None
    pointer = session.workspace.current_encoder
    pointer.parent.mkdir(parents=True)
    pointer.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"current\.json: damaged; delete it and run `mfc pretrain`"):
        current_encoder(session)
    pointer.write_text('{"folder": "abc"}')
    assert current_encoder(session) == pointer.parent / "abc"
