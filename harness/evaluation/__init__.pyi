from .architecture_figures import dense_cost, derived_figures
from .live_network import evaluate_model, facts_of_memory
from .paired_test import Paired, Side, compare
from .planned import PlannedEvaluation, planned_evaluations
from .protocol import Evaluated, evaluate, evaluate_together
from .recalibration import recalibrate_, recalibration_note
from .reproduce import Listener, Outcome, reproduce_entry, reproduce_together
from .result import Procedure, checkpoint_facts, make_result, smoke_reason

__all__ = [
    "Evaluated",
    "Outcome",
    "Paired",
    "PlannedEvaluation",
    "Procedure",
    "Side",
    "checkpoint_facts",
    "compare",
    "dense_cost",
    "derived_figures",
    "evaluate",
    "evaluate_model",
    "evaluate_together",
    "facts_of_memory",
    "make_result",
    "planned_evaluations",
    "recalibrate_",
    "recalibration_note",
    "reproduce_entry",
    "Listener",
    "reproduce_together",
    "smoke_reason",
]
