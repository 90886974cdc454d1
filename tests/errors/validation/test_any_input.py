"""Property tests: no input makes the messages fail, and none brings out a planted secret."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, Json, Secret, SecretStr, field_validator, model_validator

from envelope.errors.validation.messages import validation_messages
from envelope.errors.validation.request_schema import request_schema
from envelope.errors.validation.wording import WORDING

from .worded_apps import worded

PLANTED = "s3cr3t-pl4nt"

texts = st.text(st.characters(), max_size=20)  # lone surrogates included
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=5)
    | st.sampled_from(["x" * 10_000, "\ud800", float("nan")])
    | st.builds(pow, st.just(10), st.just(5000))
)
keys = st.sampled_from(["type", "loc", "msg", "input", "ctx", "body", "error", "a", "[key]", "x", "kind"]) | texts
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)
kinds = st.sampled_from([kind.partition(":")[0] for kind in WORDING]) | texts
places = st.sampled_from(
    ["body", "query", "a", "b", "deep", "login", "phrase", "either", "pet", "many", "cat", "int", "[key]", 0, 1]
)
contexts = st.dictionaries(
    st.sampled_from(["gt", "ge", "lt", "le", "multiple_of", "expected", "min_length", "max_length", "tag",
                     "discriminator", "expected_tags", "error", "pattern", "reason"]), junk, max_size=3,
)  # fmt: skip
likely = st.fixed_dictionaries(
    {"type": kinds, "loc": st.lists(places, max_size=6).map(tuple)},
    optional={"ctx": contexts | junk, "input": junk, "msg": junk},
)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Login(BaseModel):
    phrase: SecretStr = Field(min_length=100)
    number: Secret[int] = Secret(1)
    user: str = ""

    @field_validator("user", mode="before")
    @classmethod
    def refuse(cls, value: Any) -> Any:
        """Quotes whatever it can."""
        raise ValueError(f"not {value}, {cls}")

    @model_validator(mode="before")
    @classmethod
    def quote(cls, value: Any) -> Any:
        """Quotes the secrets of some inputs."""
        if isinstance(value, dict) and "loud" in value:
            raise ValueError(f"not {value}")
        return value


class Dog(BaseModel):
    kind: Literal["dog"]
    phrase: SecretStr


class Rich(BaseModel, extra="forbid"):
    a: Annotated[int, Field(ge=0, multiple_of=3)]
    b: Annotated[float, Field(lt=10, allow_inf_nan=False)]
    login: Login
    either: int | Login | list[Dog]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    many: dict[int, tuple[int, SecretStr]]
    text: Json[list[SecretStr]]
    deep: "Rich | None"


app = FastAPI()


@app.post("/")
def endpoint(rich: Rich, q: Annotated[list[int] | None, Query(max_length=2)] = None) -> None:
    """Takes a rich body."""


client = worded(app)
schema = request_schema({"app": app, "endpoint": endpoint})
fuzz = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))

logins = st.fixed_dictionaries(
    {"phrase": st.just(PLANTED), "number": st.just(PLANTED)}, optional={"user": junk, "loud": junk, "kind": junk}
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "a": junk,
        "b": junk,
        "login": logins,
        "either": logins | st.lists(logins),
        "pet": st.builds(
            lambda login, kind: {**login, "kind": kind}, logins, junk | st.sampled_from(["cat", "dog"])
        ),
        "many": st.dictionaries(texts, st.tuples(junk, st.just({"x": PLANTED}))),
        "text": st.sampled_from([json.dumps([{"a": PLANTED}]), json.dumps(PLANTED), f"[{PLANTED}"]),
        "extra": junk,
    },
)


def assert_sendable(messages: list[str]) -> None:
    """Some texts, which can be sent as JSON."""
    assert messages
    assert all(type(message) is str and len(message) <= 500 for message in messages)
    assert json.dumps(messages, ensure_ascii=False).encode()


def encoded(value: object) -> bytes:
    """JSON as a careless client sends it; the rest is dropped."""
    return json.dumps(value, default=lambda _: None).encode("utf-8", "surrogatepass")


@fuzz
@given(errors=junk | st.lists(junk, max_size=4), body=junk)
def test_junk_instead_of_errors_is_survived(errors: Any, body: Any) -> None:
    """Nothing that is handed over makes it raise."""
    assert_sendable(validation_messages(errors, schema=schema, body=body))


@fuzz
@given(errors=st.lists(likely, min_size=1, max_size=6), body=junk, echo=st.sampled_from(["safe", "never"]))
def test_mangled_errors_are_survived(errors: Any, body: Any, echo: Any) -> None:
    """Real types and places with contexts and inputs that do not fit."""
    assert_sendable(validation_messages(errors, schema=schema, body=body, echo_values=echo))


@fuzz
@given(body=junk)
def test_any_body_is_answered(body: Any) -> None:
    """NaN, Infinity, lone surrogates, huge numbers and deep nesting are refused in words."""
    try:
        content = encoded(body)
    except ValueError:  # an int that Python cannot print
        content = b"1" * 4000
    response = client.post("/", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert_sendable(response.json())


def test_deep_body_is_answered() -> None:
    """Nesting that is deeper than Python recurses, where the server lets it through."""
    content = b'{"deep":' * 400 + b"[" * 100 + b"]" * 100 + b"}" * 400
    response = client.post("/", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert_sendable(response.json())


@fuzz
@given(body=bodies)
def test_planted_secret_never_appears(body: dict[str, Any]) -> None:
    """Whatever stands around it, a secret's value is in no message."""
    try:
        content = encoded(body)
    except ValueError:
        return
    response = client.post("/", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert_sendable(response.json())
    assert PLANTED not in response.text
