"""What is wrong with a text."""


class TextRefused(ValueError):
    """The text breaks a rule; `description` says which, in words for the caller. Neither repeats the text."""

    def __init__(self, rule: str, description: str) -> None:
        super().__init__(description)
        self.rule = rule
        self.description = description
