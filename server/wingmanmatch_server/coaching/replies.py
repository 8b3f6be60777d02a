"""What is said instead of an answer; replies.toml has the texts that differ by language."""

import tomllib
from importlib import resources

from wingmanmatch_server.coaching.safety import Category

NOTHING_SAID = "I have no answer to that. Could you say it in other words?"
REFUSED_BY_MODEL = "I can't help with that. Is there something else that you would like to practise?"
# In place of the rest of an answer in which the model went astray.
WITHHELD = "I should not go on with that. Let's look at it in a way that is kind to everybody involved."
TELEPHONE_WITHHELD = (
    "I leave out telephone numbers, since mine may be wrong: findahelpline.com lists help lines by country, and your "
    "local emergency number is there for danger."
)


class Replies:
    """The texts, read once."""

    def __init__(self) -> None:
        texts = tomllib.loads((resources.files(__package__) / "replies.toml").read_text("utf-8"))
        helping = texts.pop("help")
        self.by_language: dict[Category, dict[str, str]] = {
            Category(name): {language: text.replace("{help}", helping[language]) for language, text in each.items()}
            for name, each in texts.items()
        }

    def instead_of_an_answer(self, category: Category, language: str) -> str:
        """Return what is said to a message of a redirected category, in English where the language has no text."""
        texts = self.by_language[category]
        return texts.get(language, texts["en"])

    def in_place_of_the_rest(self, category: Category) -> str:
        """Return what is said in place of the rest of an answer."""
        if category is Category.TELEPHONE:
            return TELEPHONE_WITHHELD
        return self.by_language[category]["en"] if category is Category.SELF_HARM else WITHHELD
