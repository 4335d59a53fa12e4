"""Who is there and what they may do: accounts, passwords, sessions, roles."""

from cloud.auth.domain import Account, Action, Role
from cloud.auth.roles import may

__all__ = ["Account", "Action", "Role", "may"]
