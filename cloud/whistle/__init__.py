"""Whistle 吹哨: departments are called onto a ticket, come, confer, and owe what they promised."""
