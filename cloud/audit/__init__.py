"""The audit: each history a chain, anchored every hour, and looked through on request."""
