"""What all tests share: generated examples may take their time on a busy machine."""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# The package that ships the SARIF schema needs Python 3.11.
collect_ignore = ["unit/report/test_sarif.py"] if sys.version_info < (3, 11) else []
