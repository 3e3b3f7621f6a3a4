"""`python -m transm3e.doctor`: versions, hardware, what was tried, and problems with a remedy each."""

from transm3e.doctor.gpus import check_devices
from transm3e.doctor.problem import Problem

__all__ = ["Problem", "check_devices"]
