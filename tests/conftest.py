"""What all tests share: generated examples may take their time on a busy machine."""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, settings

# A gate says the same of the same code; `--hypothesis-profile fresh` looks for more.
settings.register_profile("fresh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("gate", settings.get_profile("fresh"), derandomize=True)
settings.load_profile("gate")

# The package that ships the SARIF schema needs Python 3.11.
collect_ignore = ["unit/report/test_sarif.py"] if sys.version_info < (3, 11) else []
