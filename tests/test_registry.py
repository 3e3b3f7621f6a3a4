"""Names to things: found, refused with the nearest, never twice."""

import pytest

from transm3e.errors import UserError
from transm3e.registry import Registry


@pytest.fixture
def shapes():
    registry = Registry("SHAPE.NAME")
    registry.register("square")(4)
    registry.register("triangle")(3)
    return registry


def test_a_name_gives_what_was_registered(shapes):
    assert shapes["square"] == 4
    assert list(shapes) == ["square", "triangle"]


def test_the_decorator_returns_what_it_registers(shapes):
    @shapes.register("circle")
    def circle():
        return 0

    assert circle() == 0
    assert shapes["circle"] is circle


@pytest.mark.parametrize(("name", "hint"), [("sqare", "did you mean square? "), ("zzz", "exist; allowed")])
def test_an_unknown_name_is_refused_with_the_nearest(shapes, name, hint):
    with pytest.raises(UserError) as caught:
        shapes[name]
    message = str(caught.value)
    assert message.startswith(f"SHAPE.NAME is {name!r}")
    assert hint in message
    assert message.endswith("allowed: square, triangle")


def test_a_name_is_registered_once(shapes):
    with pytest.raises(UserError, match="'square' is registered already; choose another name"):
        shapes.register("square")(5)
