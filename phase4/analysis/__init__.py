"""What the data says about a stage: PASS, FAIL, INCONCLUSIVE or NO_DATA, with a reason. Pure."""
