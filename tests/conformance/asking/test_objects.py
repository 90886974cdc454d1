"""Objects that were shown, and the paths that lead to them."""

from __future__ import annotations

import pytest

from envelope.conformance.asking.objects import ShownObjects


def shown(*responses) -> ShownObjects:
    objects = ShownObjects("content")
    for path, body in responses:
        objects.add(path, body)
    return objects


@pytest.mark.parametrize(
    "body",
    [
        {"status": "success", "content": {"id": 7}},
        {"status": "success", "content": [{"id": 7}, "no object"]},
        {"status": "success", "content": {"items": [{"id": 7}], "total": 1}},
        {"id": 7},
        [{"id": 7}],
    ],
)
def test_object_is_found_in_what_a_collection_answers(body) -> None:
    """One that was made, a list, a page of a list; in the envelope or not."""
    assert shown(("/things/", body)).parameters_for("/things/{thing_id}") == [{"thing_id": 7}]


@pytest.mark.parametrize(
    ("name", "thing", "value"),
    [
        ("thing_id", {"thing_id": 1, "id": 2}, 1),
        ("thingId", {"id": 2}, 2),
        ("id", {"id": "a/b"}, "a/b"),
        ("uuid", {"uuid": "u", "id": 1}, "u"),
        ("slug", {"slug": "s"}, "s"),
    ],
)
def test_parameter_is_filled_from_the_key_that_it_is_called_after(name, thing, value) -> None:
    """Its own name before the last part of it."""
    assert shown(("/things", [thing])).parameters_for(f"/things/{{{name}}}/parts") == [{name: value}]


@pytest.mark.parametrize("thing", [{"name": "x"}, {"id": None}, {"id": ""}, {"id": {"a": 1}}, {"id": 1.5}])
def test_object_without_a_fitting_key_leads_nowhere(thing) -> None:
    """Only texts and whole numbers stand in paths."""
    assert shown(("/things", [thing])).parameters_for("/things/{thing_id}") == []


def test_nested_objects_need_all_their_parents() -> None:
    """A part is found below the thing that it was shown at."""
    objects = shown(("/things", [{"id": 1}, {"id": 2}]), ("/things/2/parts", [{"id": "a b"}]))

    assert objects.parameters_for("/things/{thing_id}/parts/{part_id}") == [{"thing_id": 2, "part_id": "a b"}]
    assert objects.parameters_for("/others/{id}") == []


def test_path_without_whole_parameters_needs_nothing() -> None:
    """There is nothing to fill, or nothing is known to fill it with."""
    assert shown(("/things", [{"id": 1}])).parameters_for("/things") == []
    assert shown(("/files", [{"name": "x"}])).parameters_for("/files/{name}.json/x/{y}") == []


def test_newest_objects_come_first_and_the_oldest_can_be_asked_for() -> None:
    """A workflow leaves its object busy; what removes objects takes others."""
    objects = shown(*(("/things", {"id": number}) for number in range(20)))

    assert objects.parameters_for("/things/{id}") == [{"id": 19}, {"id": 18}, {"id": 17}]
    assert objects.parameters_for("/things/{id}", oldest=True) == [{"id": 10}, {"id": 9}, {"id": 8}]


def test_object_that_is_shown_twice_is_known_once() -> None:
    """A list shows again what was made before."""
    objects = shown(("/things", {"id": 1}), ("/things", [{"id": 1}, {"id": 2}]))

    assert objects.parameters_for("/things/{id}") == [{"id": 2}, {"id": 1}]


def test_body_that_is_no_object_shows_nothing() -> None:
    """A number, or no JSON at all."""
    assert shown(("/things", 7), ("/things", None)).parameters_for("/things/{id}") == []
