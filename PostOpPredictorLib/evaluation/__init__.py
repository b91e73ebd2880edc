"""How good predictions are: metrics, trivial baselines, and the table with its intervals, always on simulated
patients."""
