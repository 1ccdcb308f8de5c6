"""The audit log: an append-only Merkle tree of what was done, by whom and why. Pure."""
