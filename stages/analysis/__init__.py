"""What a trained network does: analyses of a run folder, without training again. Each is one module here.

A module has a report, `measure(subject, config, progress) -> (fields of the report, arrays)` and `draw(report, arrays)
-> Figure`; an entry of the catalogue makes an analysis of them, which keeps its result in `<run>/analysis/`.
"""
