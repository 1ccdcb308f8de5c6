"""Rules that the judge is compared with: for rehearsals and notebooks, never for a rollout."""
