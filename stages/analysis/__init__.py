"""What a trained network does: analyses of a run folder, without training again. Each is one module here.

A module has a TITLE, a READING (how to read it), a class `Report`, `measure(subject, config, progress) -> (fields of
the report, arrays)` and, unless it is numbers alone, `draw(report, arrays) -> Figure`.
"""
