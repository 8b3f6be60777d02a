"""Results of the database's functions as typed rows: a dataclass declares the keys of an object and their types."""

from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from wingmanmatch_server.drivers.database import Database

T = TypeVar("T")
# A time that the database writes as ISO 8601 text with an offset.
Moment = Annotated[datetime, BeforeValidator(datetime.fromisoformat)]


class ResultInvalid(Exception):
    """A function returned something else than is declared for it, which like CallFailed can only be a defect of ours.

    Its text names the function and the keys, never a value, so it is fit for a log.
    """

    def __init__(self, function: str, problem: str) -> None:
        super().__init__(f"{function} returned an invalid result: {problem}")


class ResultType(Generic[T]):
    """What a function returns: an instance of a class, usually a dataclass.

    Every field without a default must be in the result and have the field's type. Keys that no field declares are
    ignored, so that a newer schema may add some. A field that is added later needs a default: what is returned again
    for a request_id can be a day old.
    """

    def __init__(self, type_: type[T], key: str | None = None) -> None:
        """With `key`, the instance is the value of that key, and the rest of the result is ignored."""
        self._type = type_
        self._key = key

    async def call(self, database: Database, function: str, /, **parameters: Any) -> T:
        """Call a function as `Database.call` does and return its result. Also raises ResultInvalid."""
        return self.read(function, await database.call(function, **parameters))

    def read(self, function: str, result: Any) -> T:
        """Return the decoded result of a function as an instance. Raises ResultInvalid."""
        try:
            return self._adapter.validate_python(result if self._key is None else result[self._key])
        except ValidationError as error:
            problem = "; ".join(
                map(_problem, error.errors(include_url=False, include_context=False, include_input=False))
            )
        except KeyError:
            problem = f"{self._key}: missing"
        except TypeError:
            problem = "a value has another type"
        raise ResultInvalid(function, problem)

    # Made on first use, so that nothing happens at import.
    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self._type)


def _problem(details: ErrorDetails) -> str:
    place = ".".join(map(str, details["loc"])) or "the result"
    return f"{place}: {details['type']}"
