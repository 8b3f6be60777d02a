"""What coaching counts. No label ever holds anything of a person."""

from prometheus_client import CollectorRegistry, Counter, Histogram

FIRST_TEXT_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)


class CoachingMetrics:
    """Answers, tokens, refusals, and how long the first text takes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter("coaching_answers", "Answers by how they ended.", ["ending"], registry=registry)
        self._tokens = Counter("coaching_tokens", "Tokens read and written.", ["direction"], registry=registry)
        self._refusals = Counter(
            "coaching_refusals", "What the safety layer held back.", ["category", "stage"], registry=registry
        )
        self._opinions = Counter(
            "coaching_second_opinions",
            "Messages on which COACHING_SAFETY_MODEL was asked, by whether its answer was used.",
            ["outcome"],
            registry=registry,
        )
        self._first_text = Histogram(
            "coaching_first_text_seconds",
            "From the question to the first piece of the answer.",
            buckets=FIRST_TEXT_SECONDS,
            registry=registry,
        )

    def answered(self, ending: str, input_tokens: int, output_tokens: int) -> None:
        """Count an answer, whole or not."""
        self._answers.labels(ending).inc()
        self.tokens(input_tokens, output_tokens)

    def tokens(self, input_tokens: int, output_tokens: int) -> None:
        """Count what a model read and wrote."""
        self._tokens.labels("input").inc(input_tokens)
        self._tokens.labels("output").inc(output_tokens)

    def refused(self, category: str, stage: str) -> None:
        """Count what was held back: a `message` of a person or an `answer` of the model."""
        self._refusals.labels(category, stage).inc()

    def opinion(self, outcome: str) -> None:
        """Count a second opinion that was `given` or `failed`."""
        self._opinions.labels(outcome).inc()

    def began(self, seconds: float) -> None:
        """Note how long the first piece took."""
        self._first_text.observe(seconds)
