"""The hand-over from the gateway: observations waiting to be applied, and those that could not be."""
