"""The terminal app: screens, modes, the timer that pulls snapshots."""
