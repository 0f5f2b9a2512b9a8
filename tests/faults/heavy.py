"""Imports what the stages need, once, in the server that forks their processes."""

import mfc.stages.cluster
import mfc.stages.evaluate
import mfc.stages.finetune
import mfc.stages.preprocess
import mfc.stages.pretrain
import mfc.stages.synthesize
import mfc.workflow.scores  # noqa: F401
