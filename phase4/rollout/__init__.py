"""Plans, their state, and the one loop: decide, record, evolve, switch. Pure but for the controller's protocols."""
