"""The experiment: training runs as independent units, their results, and how networks compare; free of FiftyOne."""
