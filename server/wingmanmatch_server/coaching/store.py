"""What coaching asks of the database. One method is one call is one transaction, and changes nothing."""

from wingmanmatch_server import errors
from wingmanmatch_server.coaching.rows import PersonContext, PlanFacts, StandingErasure
from wingmanmatch_server.drivers.database import Database
from wingmanmatch_server.drivers.results import ResultType

_CONTEXT = ResultType(PersonContext)
_ERASURE = ResultType(StandingErasure)
_PLAN_FACTS = ResultType(PlanFacts)


class CoachingStore:
    """What the coach knows of people.

    Every method raises errors.Unavailable if the database does not answer, and ResultInvalid if what it returns is not
    what `rows.py` declares.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def context(self, user_id: str) -> PersonContext:
        """Return what the coach knows of a person, who may have no profile."""
        return await _CONTEXT.call(self._database, "coaching_context", p_user_id=user_id)

    async def require_not_erased(self, user_id: str) -> None:
        """Raise errors.FailedPrecondition ERASED_RECENTLY of a person who was erased within the last 24 hours."""
        erasure = await _ERASURE.call(self._database, "get_erasure", p_user_id=user_id)
        if erasure.retry_after_seconds is not None:
            message = "the person was erased within the last 24 hours"
            raise errors.FailedPrecondition("ERASED_RECENTLY", message, retry_after=erasure.retry_after_seconds)

    async def plan_facts(self, match_id: str, user_id: str) -> PlanFacts:
        """Return what a plan for a live match is made from, to one of its two people.

        Raises errors.NotFound MATCH_NOT_FOUND, and errors.FailedPrecondition MATCH_NOT_ACCEPTED for a match that is
        over.
        """
        return await _PLAN_FACTS.call(self._database, "meetup_plan_facts", p_match_id=match_id, p_user_id=user_id)
