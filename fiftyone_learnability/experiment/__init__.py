"""An experiment: training units, executors, the run directory, results, progress and figures. Needs no FiftyOne."""
