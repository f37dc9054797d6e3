"""How good a model is: annotated recordings through the very file, as a device would run it.

    truth      what a window is in truth
    metrics    figures of what was called
    records    annotated WFDB records: which there are, and what a device would see of one
    judge      the model file over one record, in a child process
    run        over many, by several of them
    report     all figures of a run

Importing this package needs numpy alone; wfdb and the runtime are loaded where they are used.

    evaluation = evaluate("rhythm.tflite", "mitdb")
    print(full_report(evaluation)["classes"]["V"]["sensitivity"])
"""

from holter_host.evaluation.records import Reading
from holter_host.evaluation.report import full_report
from holter_host.evaluation.run import Evaluation, RecordResult, evaluate
from holter_host.evaluation.truth import ClassMap

__all__ = ["ClassMap", "Evaluation", "Reading", "RecordResult", "evaluate", "full_report"]
