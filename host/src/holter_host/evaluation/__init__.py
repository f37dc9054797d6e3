"""How good a model is: annotated recordings through the very file, as a device would run it.

    truth      what a window is in truth
    metrics    figures of what was called
    records    annotated WFDB records: which there are, and what a device would see of one
    judge      the model file over one record
    run        over many, by several processes
    report     all figures of a run

`truth` and `metrics` need numpy alone.
"""
