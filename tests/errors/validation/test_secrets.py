"""What a client may not read in a message: planted secrets are searched for in every answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from fastapi import Cookie, Depends, FastAPI, Form, Header, Query
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    HttpUrl,
    Json,
    Secret,
    SecretBytes,
    SecretStr,
    Tag,
    field_validator,
    model_validator,
)

from envelope.errors.validation.messages import validation_messages
from envelope.errors.validation.redaction import is_secret_name

from .worded_apps import post_app, worded

PLANTED = "hunter2"
STARS = "'**********'"


class Login(BaseModel):
    user: str
    phrase: SecretStr = Field(min_length=20)  # not a telling name: only the type says it


class Vault(BaseModel):
    raw: SecretBytes = Field(SecretBytes(b""), max_length=3)
    number: Secret[int] = Secret(0)
    maybe: SecretStr | None = None
    either: int | SecretStr = 1
    many: dict[str, Annotated[str, Field(max_length=3, json_schema_extra={"format": "password"})]] = {}
    hidden: Annotated[int, Field(json_schema_extra={"writeOnly": True})] = 0
    listed: list[Secret[int]] = []
    sealed: Secret[dict[str, list[int]]] = Secret({})


class Card(BaseModel):
    kind: Literal["card"]
    phrase: SecretStr


class Cash(BaseModel):
    kind: Literal["cash"]


Payment = Annotated[Card | Cash, Field(discriminator="kind")]


def refuse(value: Any) -> Any:
    """A validator whose text quotes the value."""
    raise ValueError(f"cannot accept {value!r}")


class Quoting(BaseModel):
    phrase: SecretStr
    other: str = ""

    @field_validator("other", mode="before")
    @classmethod
    def quote_neighbour(cls, value: Any, info: Any) -> Any:
        """Quotes the field before it."""
        raise ValueError(f"does not go with {info.data['phrase'].get_secret_value().upper()}")


class QuotingWhole(BaseModel):
    phrase: SecretStr
    pins: list[int] = []

    @model_validator(mode="before")
    @classmethod
    def quote_everything(cls, value: Any) -> Any:
        """Quotes the whole input."""
        raise AssertionError(f"bad input {value}")


def post(annotation: Any, json: Any, **options: Any) -> list[str]:
    """The messages about a JSON body."""
    response = worded(post_app(annotation), **options).post("/", json=json)
    assert response.status_code == 400
    messages: list[str] = response.json()
    return messages


def test_secret_string_too_short_is_starred() -> None:
    """Pydantic reports it as `too_short`, with the clear text as its input."""
    assert post(Login, {"user": "u", "phrase": PLANTED}) == [f"{STARS} is too short"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"raw": PLANTED}, f"{STARS} is too long"),
        ({"number": PLANTED}, f"{STARS} is not of type 'integer'"),
        ({"maybe": 7 ** 9}, f"{STARS} is not of type 'string'"),
        ({"either": None}, f"{STARS} is not valid under any of the given schemas"),
        ({"many": {"a": PLANTED}}, f"{STARS} is too long"),
        ({"hidden": PLANTED}, f"{STARS} is not of type 'integer'"),
        ({"sealed": {"a": [PLANTED]}}, f"{STARS} is not of type 'integer'"),
        ({"listed": [PLANTED]}, f"{STARS} is not of type 'integer'"),
    ],
)  # fmt: skip
def test_declared_secret_is_starred(body: dict[str, Any], message: str) -> None:
    """Whatever the way a schema says "secret", and however deep."""
    assert post(Vault, body) == [message]


def test_parent_of_missing_property_is_not_shown() -> None:
    """Pydantic's input for a missing property is the whole parent."""
    messages = post(Login, {"phrase": PLANTED * 4})
    assert messages == ["'user' is a required property"]


def test_raw_body_of_another_content_type_is_not_shown() -> None:
    """The raw bytes are pydantic's input when the body was not parsed."""
    response = worded(post_app(Login)).post("/", content=f"phrase={PLANTED}".encode())
    assert response.json() == ["request body is not application/json"]


def test_text_in_place_of_an_object_with_secrets_is_starred() -> None:
    """A body that was encoded twice is a text, secrets included."""
    assert post(Login, f'{{"phrase": "{PLANTED}"}}') == [f"{STARS} is not of type 'object'"]
    assert post(list[Payment], [PLANTED, 5]) == [f"{STARS} is not of type 'object'", "5 is not of type 'object'"]
    assert post(tuple[int, SecretStr], PLANTED) == [f"{STARS} is not of type 'array'"]


class Branch(BaseModel):
    left: "Branch | None" = None
    right: "Branch | None" = None


def test_text_in_place_of_a_recursive_object_is_shown() -> None:
    """The search for secrets in a schema ends, and finds none here."""
    assert post(Branch, {"left": "x"}) == ["'x' is not of type 'object'"]


def test_invalid_tag_shows_only_the_tag() -> None:
    """The input of a discriminated union is the whole object."""
    messages = post(Payment, {"kind": "cheque", "phrase": PLANTED})
    assert messages == ["'cheque' is not one of ['card', 'cash']"]


def test_computed_tag_is_not_shown() -> None:
    """A function may make a tag of anything; neither its result nor its name is shown."""

    def tag_of(value: Any) -> str | None:
        return str(value["phrase"]) if "phrase" in value else None

    annotation = Annotated[Annotated[Card, Tag("card")] | Annotated[Cash, Tag("cash")], Discriminator(tag_of)]
    assert post(annotation, {"phrase": PLANTED}) == ["value is not one of ['card', 'cash']"]
    assert post(annotation, {}) == ["{} is not valid under any of the given schemas"]
    assert post(annotation, {"phrase": "card"}) == ["'kind' is a required property"]
    assert post(annotation, {"phrase": "cash", "kind": 3}) == ["'cash' was expected"]


def test_secret_discriminator_is_starred() -> None:
    """A tag under a telling name is a secret."""

    class One(BaseModel):
        token: Literal["one"]

    class Two(BaseModel):
        token: Literal["two"]

    annotation = Annotated[One | Two, Field(discriminator="token")]
    assert post(annotation, {"token": PLANTED}) == [f"{STARS} is not one of ['one', 'two']"]


def test_validator_text_without_secret_is_shown() -> None:
    """What developers say about a value that is no secret helps the client; pydantic's prefix does not."""
    assert post(dict[str, Annotated[str, BeforeValidator(refuse)]], {"a": "x"}) == ["cannot accept 'x'"]


def test_validator_text_of_a_secret_is_withheld() -> None:
    """A validator of a secret may quote it."""
    assert post(dict[str, Annotated[SecretStr, BeforeValidator(refuse)]], {"a": PLANTED}) == [
        f"{STARS} is not valid"
    ]


def test_validator_text_that_quotes_a_neighbour_is_withheld() -> None:
    """The text is compared with every secret of the body, without regard to case."""
    assert post(Quoting, {"phrase": PLANTED, "other": "x"}) == ["'x' is not valid"]


def test_validator_text_that_quotes_the_whole_input_is_withheld() -> None:
    """A model's validator sees the raw input, declared secrets and telling names alike."""
    assert post(QuotingWhole, {"phrase": PLANTED}) == ["value of type object is not valid"]
    assert post(QuotingWhole, {"phrase": "", "pins": [4711]}) == ["value of type object is not valid"]
    assert post(QuotingWhole, {"phrase": "", "size": 3}) == ["bad input {'phrase': '', 'size': 3}"]


def test_validator_text_about_a_huge_input_is_withheld() -> None:
    """What is too large to be searched may hold a secret."""
    assert post(QuotingWhole, {"x": list(range(5000))}) == ["value of type object is not valid"]


def test_validator_texts_share_one_search() -> None:
    """The members that are searched are counted over all the texts of a request."""
    annotation = dict[str, Annotated[list[int], BeforeValidator(refuse)]]
    messages = post(annotation, {f"k{number}": [4] * 90 for number in range(15)})
    assert [message[:15] for message in messages] == ["cannot accept ["] * 6 + ["value of type a"] * 9


def test_secret_names_of_parameters_are_starred() -> None:
    """Headers and query parameters that sound like credentials."""
    app = FastAPI()

    @app.get("/")
    def endpoint(
        authorization: Annotated[int, Header()],
        x_api_key: Annotated[int, Header()],
        access_token: Annotated[int, Query(alias="accessToken")],
        pin: Annotated[str, Query(pattern=r"^\d{4}$")],
        author: Annotated[int, Query()],
    ) -> None:
        pass

    headers = {"authorization": PLANTED, "x-api-key": PLANTED}
    response = worded(app).get(f"/?accessToken={PLANTED}&pin={PLANTED}&author=x", headers=headers)
    assert PLANTED not in response.text
    assert response.json().count(f"{STARS} is not of type 'integer'") == 3
    assert "'x' is not of type 'integer'" in response.json()


def test_password_form_is_starred() -> None:
    """FastAPI's own login form."""
    app = FastAPI()

    @app.post("/")
    def endpoint(form: Annotated[OAuth2PasswordRequestForm, Depends()], code: Annotated[int, Form()]) -> None:
        pass

    response = worded(app).post("/", data={"grant_type": PLANTED, "password": PLANTED, "code": "x"})
    assert f"'{PLANTED}' does not match '^password$'" in response.json()
    assert "'username' is a required property" in response.json()
    assert "'x' is not of type 'integer'" in response.json()


def test_value_below_a_secret_name_is_starred() -> None:
    """The name of any container on the way counts."""
    assert post(dict[str, dict[str, int]], {"credentials": {"a": PLANTED}}) == [
        f"{STARS} is not of type 'integer'"
    ]


def test_unexpected_keys_below_a_secret_name_are_not_named() -> None:
    """A key may be the secret itself."""

    class Closed(BaseModel, extra="forbid"):
        pass

    class Holder(BaseModel, extra="forbid"):
        credentials: Closed

    assert post(Holder, {"credentials": {PLANTED: 1}}) == ["Additional properties are not allowed"]
    assert post(Holder, {"credentials": {}, "password": PLANTED}) == [
        "Additional properties are not allowed ('password' was unexpected)"
    ]


def test_unexpected_keys_are_limited() -> None:
    """Ten names, each shortened, are enough."""

    class Closed(BaseModel, extra="forbid"):
        pass

    (message,) = post(Closed, {f"k{number:02}": 1 for number in range(30)} | {"a" * 1000: 1})
    assert message.startswith(f"Additional properties are not allowed ('{'a' * 29}...{'a' * 30}', 'k00', ")
    assert message.endswith("'k08', ... were unexpected)")


@pytest.mark.parametrize("url", ["http://u:hunter2@[", "http//u:hunter2@h", "//h?key=hunter2", "#hunter2"])
def test_url_with_credentials_is_starred(url: str) -> None:
    """A URL that cannot be parsed may carry a password anywhere."""
    assert post(dict[str, HttpUrl], {"a": url}) == [f"{STARS} is not a 'uri'"]


def test_url_with_credentials_in_any_text_is_starred() -> None:
    """A connection string in the wrong field."""
    assert post(dict[str, int], {"a": "redis://u:hunter2@h"}) == [f"{STARS} is not of type 'integer'"]


def test_nothing_is_quoted_with_echo_never() -> None:
    """Every value reads `value`, keys are not named, and developers' texts are withheld."""

    class Strict(BaseModel, extra="forbid"):
        a: int
        b: Annotated[str, BeforeValidator(refuse)]
        c: Payment
        d: Literal["x", "y"]
        e: int | bool
        f: Annotated[int, Field(ge=0)]
        g: tuple[int, int]

    body = {"a": PLANTED, "b": PLANTED, "c": {"kind": PLANTED}, "d": PLANTED, "e": PLANTED, "f": -3, "g": [1]}
    assert post(Strict, body | {PLANTED: 1}, echo_values="never") == [
        "value is not of type 'integer'",
        "value is not valid",
        "value is not one of ['card', 'cash']",
        "value is not one of ['x', 'y']",
        "value is not valid under any of the given schemas",
        "value is less than the minimum of 0",
        "value of type array is too short",
        "Additional properties are not allowed",
    ]


def test_nothing_is_quoted_without_a_schema() -> None:
    """An unknown route's secrets cannot be recognised."""
    errors: list[dict[str, Any]] = [
        {"type": "int_parsing", "loc": ["body", "a"], "input": PLANTED},
        {"type": "value_error", "loc": ["body", "a"], "msg": f"Value error, {PLANTED}", "ctx": {"error": {}}},
        {"type": "literal_error", "loc": ["body", "a"], "input": PLANTED, "ctx": {"expected": "'a'"}},
    ]
    assert validation_messages(errors) == [
        "value is not of type 'integer'",
        "value is not valid",
        "'a' was expected",
    ]


@pytest.mark.parametrize(
    "name",
    ["password", "user_password", "newpassword", "password2", "Passwords", "accessToken", "api_key", "APIKey",
     "apikey", "X-Auth-Token", "authorization", "Proxy-Authorization", "cookie", "x-api-key", "pin", "PIN",
     "cardPin",
     "client-secret", "jwt", "session_id", "private_key", "otpCode", "n" * 200],
)  # fmt: skip
def test_name_is_secret(name: str) -> None:
    """Whole words of any spelling."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["shipping", "author", "spinach", "discard", "tokenizer", "sessile", "key", "api", ""]
)
def test_name_is_not_secret(name: str) -> None:
    """Words that only contain one."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["accesstoken", "clientsecret", "SECRETKEY", "X-CSRFToken", "X-Access-Key", "Ocp-Apim-Subscription-Key"]
    + ["passcode", "pwd", "bearer", "sessionid", "creditcard", "totp", "signing_key", "PHPSESSID"],
)
def test_name_of_credentials_in_use_sounds_like_a_secret(name: str) -> None:
    """Names that frameworks, gateways and people give to credentials."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["public_key", "sort_key", "keyboard", "tokenizer", "secretary_id", "inside", "pinned"]
)
def test_name_that_only_looks_like_one_may_be_quoted(name: str) -> None:
    """A service without quoted values is hard to use; what is harmless stays readable."""
    assert is_secret_name(name) is (name == "secretary_id")  # "secret" inside a word is not worth the risk


def test_cookie_of_any_name_is_starred() -> None:
    """Nobody can tell a session's cookie from another by its name."""
    app = FastAPI()

    @app.get("/")
    async def root(theme: Annotated[int, Cookie()]) -> None: ...

    assert worded(app).get("/", headers={"cookie": f"theme={PLANTED}"}).json() == [
        f"{STARS} is not of type 'integer'"
    ]


def test_alias_does_not_hide_a_secret_name() -> None:
    """Whether a parameter or a field: its own name counts as well as the one on the wire."""
    app = FastAPI()

    class Item(BaseModel):
        password: int = Field(validation_alias="x")

    @app.get("/")
    async def root(api_key: Annotated[int, Query(alias="k")]) -> None: ...

    stars = [f"{STARS} is not of type 'integer'"]
    assert worded(app).get(f"/?k={PLANTED}").json() == stars
    assert post(Item, {"x": PLANTED}) == stars


def test_secret_key_of_a_dictionary_is_starred() -> None:
    """JSON Schema has no type for keys, but our schema knows."""
    assert post(dict[Secret[int], int], {PLANTED: 1}) == [f"{STARS} is not of type 'integer'"]


@pytest.mark.parametrize("value", ['{"v":"hunter2"}', '{"v":"hunter2"'], ids=["document", "broken"])
def test_secret_in_embedded_json_is_found_in_a_validators_text(value: str) -> None:
    """A Json[...] field is read once more before its validators' words are shown."""

    class Inner(BaseModel):
        v: SecretStr

    class Item(BaseModel):
        js: Json[Inner]

        @model_validator(mode="before")
        @classmethod
        def refuse(cls, values: Any) -> Any:
            raise ValueError(f"refused {values['js']}")

    assert PLANTED not in " ".join(post(Item, {"js": value}))


def test_text_that_quotes_a_long_input_is_withheld_at_once() -> None:
    """Comparing many secrets with many long texts would take seconds that a client can ask for."""

    class Item(BaseModel):
        n: str

        @field_validator("n")
        @classmethod
        def refuse(cls, value: str) -> str:
            raise ValueError("no colour: " + value)

    class Items(BaseModel):
        password: list[str]
        ns: list[Item]

    long = post(Items, {"password": [f"p{n}" for n in range(1500)], "ns": [{"n": "ab" * 10_000}] * 60})
    many = post(Items, {"password": [f"p{n}" for n in range(1500)], "ns": [{"n": "short"}] * 60})

    assert long[0].endswith("ababab' is not valid")
    assert many[0] == "no colour: short"
    assert many[49] == "'short' is not valid"
