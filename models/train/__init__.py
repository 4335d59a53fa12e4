"""Training the shipped weights: plain PyTorch, small models, fixed seeds. Needs the extra ``[models]``."""
