"""The assessment: who did what in time, where matters pile up, and what stays unsolved."""
