"""Photos of reporters and of those who went there: sealed on the disk, shown to those who may see them.

A reporter's is deleted with the words; one that proves a ticket stays with the ticket.
"""
