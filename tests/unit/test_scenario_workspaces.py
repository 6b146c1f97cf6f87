"""Which workspace is meant, by its name."""

import pytest

from treadle.clients.fabric import Workspace
from treadle.errors import InvalidInput, NotFound
from treadle.flows.scenario.workspaces import require_name, the_one_called

ONE, TWO, OTHER = Workspace("1", "ops"), Workspace("2", "ops"), Workspace("3", "Ops")


def test_a_name_is_the_whole_name_as_it_is_written():
    assert the_one_called("Ops", [ONE, OTHER]) is OTHER
    for absent in ("op", "OPS", " ops"):
        with pytest.raises(NotFound, match="no workspace"):
            the_one_called(absent, [ONE, OTHER])


def test_a_name_that_several_have_names_none_and_all_are_told():
    with pytest.raises(InvalidInput) as refused:
        the_one_called("ops", [ONE, TWO, OTHER])
    assert refused.value.details["workspace_ids"] == ["1", "2"]
    assert "2 workspaces are called 'ops': 1, 2." in refused.value.message


def test_an_id_and_a_name_must_mean_the_same():
    for said in (None, "", "ops"):
        require_name(ONE, said)
    with pytest.raises(InvalidInput, match="The workspace 1 is called 'ops', not 'Ops'"):
        require_name(ONE, "Ops")
