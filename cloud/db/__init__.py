"""The database of the ticket centre: a pool, transactions that speak to the stream, SQL by name."""

from cloud.db.database import Database, Listener
from cloud.db.queries import Queries
from cloud.db.transaction import Transaction

__all__ = ["Database", "Listener", "Queries", "Transaction"]
