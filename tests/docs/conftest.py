"""One Hub and one troupe for all pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.stage import Theatre, theatre


@pytest.fixture(name="house", scope="session")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("theatre")) as house:
        yield house
