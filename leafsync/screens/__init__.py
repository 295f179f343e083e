"""The screens and modals, one a module. They hold no logic of the engine: they pull snapshots and give commands."""
