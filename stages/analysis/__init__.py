"""What a trained network does: analyses of a run folder, without training again. Each is one module here.

A module has `run(config, open_split, run_folder) -> report`, which keeps its result in `<run>/analysis/`, and
`draw(report, arrays) -> Figure`.
"""
