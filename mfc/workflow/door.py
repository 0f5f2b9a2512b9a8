"""What a person can get wrong in a call is refused here, before a run is opened and any work begins."""

from __future__ import annotations

from mfc.config import COMMANDS, Compare, Finetune, Promote, parse_pair
from mfc.workflow.data import check_titles
from mfc.workflow.session import Session


def check(session: Session, command: str) -> None:
    """Check what the values alone do not tell: folders, titles, runs, the metric of a promotion.

    Raises:
        UserError: in one sentence, with the remedy.
    """
    session.workspace.check_writable()
    check_titles(session, command)
    if command in ("finetune", "main"):
        from mfc.adapt.recipe import recipe_of

        recipe_of(session.config(Finetune))
    kind = COMMANDS.get(command)
    if kind is Compare:
        parse_pair("runs", session.config(Compare).runs)
    elif kind is Promote:
        from mfc.stages.promote import metric_of

        metric_of(session.config(Promote))
