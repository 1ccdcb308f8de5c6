"""Who watches: the collector, its alerts, its notices and its report. It drives the rollouts from what is stored."""
