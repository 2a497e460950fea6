"""The mathematics, numpy alone: score formulas, their catalog, consensus, comparison, reliability, subset choice."""
