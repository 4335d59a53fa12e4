"""Notifications: what people are to be told reaches them by webhook, e-mail or a group's robot."""
