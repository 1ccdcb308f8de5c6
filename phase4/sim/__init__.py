"""The rehearsal: the production controller, judge and bucketing in a simulated world."""
