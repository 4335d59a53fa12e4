"""The gateway's part of `drumtower doctor`."""

from gateway.doctor.examine import GatewayDoctor

__all__ = ["GatewayDoctor"]
