"""The tree of errors: what services raise, and the one for a wrong configuration."""

import pickle

import pytest

import envelope
from envelope import (
    ApiError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    EnvelopeError,
    ForbiddenError,
    InternalServerError,
    MethodNotAllowedError,
    NotFoundError,
    ObjectLockedError,
    RateLimitedError,
    ServiceUnavailableError,
    UnauthorizedError,
)

TABLE = {
    BadRequestError: (400, "Bad Request -- Your request is invalid."),
    UnauthorizedError: (401, "Unauthorized -- Your client_id, client_secret, or access_token is invalid."),
    ForbiddenError: (403, "Forbidden -- You do not have the permissions to access the requested resource."),
    NotFoundError: (404, "Not Found -- The specified resource could not be found."),
    MethodNotAllowedError: (405, "Method Not Allowed -- You tried to access a resource with an invalid method."),
    ConflictError: (409, "Conflict -- Could not be completed due to a conflict with the target resource."),
    ObjectLockedError: (423, "The object is still being updated (locked). Try your request again later."),
    RateLimitedError: (429, "You have reached the request rate limit. Try your request again later."),
    InternalServerError: (500, "Internal Server Error -- We had a problem with our server. Try again later."),
    ServiceUnavailableError: (
        503,
        "Service Unavailable -- We're temporarily offline for maintenance. Please try again later.",
    ),
}


@pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)
def test_error_says_what_the_table_says(cls: type[ApiError]) -> None:
    """Each class has the status and, word for word, the description of the convention's table."""
    error = cls()

    assert (error.status_code, error.message) == TABLE[cls]
    assert str(error) == error.message
    assert error.error_code is None


def test_tree_has_two_branches() -> None:
    """A wrong configuration is never a response, and a response is never a wrong configuration."""
    assert issubclass(ApiError, EnvelopeError)
    assert issubclass(ConfigurationError, EnvelopeError)
    assert not issubclass(ConfigurationError, ApiError)
    assert not issubclass(ApiError, ConfigurationError)
    assert all(cls.__bases__ == (ApiError,) for cls in TABLE)


def test_tree_is_exported_whole() -> None:
    """Every error of the tree is one of the everyday names."""
    assert {cls.__name__ for cls in (*TABLE, ApiError, ConfigurationError)} <= set(envelope.__all__)


def test_attributes_of_an_instance_override_those_of_its_class() -> None:
    """One by one; what was not given stays the class's."""
    error = ConflictError("twice", error_code="duplicate", headers={"X-One": "1"}, retry_after=3)

    assert (error.status_code, error.message, error.error_code) == (409, "twice", "duplicate")
    assert (error.headers, error.retry_after) == ({"X-One": "1"}, 3)
    assert ConflictError.message == TABLE[ConflictError][1]
    assert ConflictError.error_code is None


def test_attributes_of_a_subclass_are_those_of_its_instances() -> None:
    """Services subclass errors for their own domain."""

    class EntityFrozenError(ConflictError):
        message = "frozen"
        error_code = "entity_frozen"

    error = EntityFrozenError()

    assert (error.status_code, error.message, error.error_code) == (409, "frozen", "entity_frozen")


def test_subclass_with_its_own_init_works() -> None:
    """A domain's error often has arguments of its own."""

    class QuotaError(RateLimitedError):
        def __init__(self, left: int) -> None:
            self.left = left
            super().__init__(f"{left} left", retry_after=left)

    error = QuotaError(5)

    assert (error.status_code, error.message, error.retry_after, error.left) == (429, "5 left", 5, 5)


@pytest.mark.parametrize("message", [["a", "b"], {"a": 1}, "", ("x",)], ids=repr)
def test_message_of_any_kind_is_kept(message: object) -> None:
    """A list of problems and a mapping are messages, too."""
    assert BadRequestError(message).message == message  # type: ignore[arg-type]
    assert isinstance(str(BadRequestError(message)), str)


@pytest.mark.parametrize("status", [418, 451, 502, 400, 599])
def test_status_of_an_instance_is_kept(status: int) -> None:
    """A failure that has no class of its own is an ApiError with a status and a text."""
    error = ApiError(status_code=status)

    assert error.status_code == status
    assert isinstance(error.message, str)
    assert error.message


@pytest.mark.parametrize("status", [200, 204, 302, 399, 600, 0, -1, 99])
def test_status_that_is_no_failure_is_refused(status: int) -> None:
    """An error is never a success."""
    with pytest.raises(ValueError, match=str(status)):
        ApiError("x", status_code=status)


@pytest.mark.parametrize("status", [200, 302, 600, "404", None], ids=repr)
def test_subclass_whose_status_is_no_failure_is_refused(status: object) -> None:
    """The class is refused where it is written, not when it is raised."""
    with pytest.raises(ConfigurationError, match="status"):
        type("OddError", (ApiError,), {"status_code": status})


def test_options_are_keyword_only() -> None:
    """Only the message has a place."""
    with pytest.raises(TypeError):
        ConflictError("x", "code")  # type: ignore[call-arg]


@pytest.mark.parametrize("cls", [*TABLE, ApiError], ids=lambda cls: cls.__name__)
def test_error_is_an_exception_that_can_be_raised_from_another(cls: type[ApiError]) -> None:
    """Errors keep their cause for whoever reads the log."""
    cause = KeyError("k")

    with pytest.raises(cls) as caught:
        raise cls("x") from cause

    assert caught.value.__cause__ is cause
    assert isinstance(caught.value, Exception)


def test_error_survives_pickling() -> None:
    """Errors travel between processes: process pools and task queues pickle them."""
    error = ConflictError("twice", error_code="duplicate", headers={"X-One": "1"}, retry_after=3)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is ConflictError
    assert (copy.message, copy.error_code, copy.headers, copy.retry_after) == (
        "twice",
        "duplicate",
        {"X-One": "1"},
        3,
    )


def test_repr_of_an_error_names_it() -> None:
    """A log line with the repr says which error it was and what it said."""
    assert repr(NotFoundError("no entity 42")).startswith("NotFoundError(")
    assert "no entity 42" in repr(NotFoundError("no entity 42"))


@pytest.mark.parametrize(
    "cls", [ObjectLockedError, RateLimitedError, ServiceUnavailableError], ids=lambda cls: cls.__name__
)
def test_error_that_passes_by_itself_says_when(cls: type[ApiError]) -> None:
    """423, 429 and 503 have a default wait of at least a second."""
    assert cls().retry_after is not None
    assert cls().retry_after >= 1  # type: ignore[operator]
