"""Flags: a document and a context become a value, a variant, a reason and an arm. Pure."""
