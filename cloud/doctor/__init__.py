"""The ticket centre's part of `drumtower doctor`."""

from cloud.doctor.examine import CloudDoctor

__all__ = ["CloudDoctor"]
