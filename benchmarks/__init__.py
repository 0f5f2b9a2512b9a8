"""Speed as ratios against simple baselines, measured in one run: ``python -m benchmarks``."""
