"""What is stored, and the only importer of the databases."""
