"""What is said instead of an answer. No telephone number is in it: those differ by country and change."""

from wingmanmatch_server.coaching.safety import Category

_HELP = (
    "If you are in danger now, please call your local emergency number. Help lines for your country, most of them free "
    "and confidential, are listed at findahelpline.com. If you can, tell somebody you trust today."
)

REPLIES = {
    Category.SELF_HARM: (
        "I'm glad you wrote this, and I'm sorry that it is so hard right now. This is more than a coach should answer: "
        f"you deserve a person who listens and can help. {_HELP}"
    ),
    Category.ABUSE: (
        "I'm sorry that this happened to you. It is not your fault, and you deserve support from people who know how "
        f"to help. {_HELP}"
    ),
    Category.MINOR: (
        "I don't coach on dating or romance where somebody is, or may be, younger than 18. I'm happy to help with "
        "friendships and with feeling at ease among people. For the rest an adult you trust is the better one to ask, "
        "such as a parent, a teacher or a counsellor."
    ),
}
NOTHING_SAID = "I have no answer to that. Could you say it in other words?"
REFUSED_BY_MODEL = "I can't help with that. Is there something else that you would like to practise?"
# In place of the rest of an answer in which the model went astray.
_WITHHELD = "I should not go on with that. Let's look at it in a way that is kind to everybody involved."
_WITHHELD_OF = {
    Category.SELF_HARM: REPLIES[Category.SELF_HARM],
    Category.TELEPHONE: (
        "I leave out telephone numbers, since mine may be wrong: findahelpline.com lists help lines by country, and "
        "your local emergency number is there for danger."
    ),
}


def in_place_of(category: Category) -> str:
    """Return what is said in place of the rest of an answer."""
    return _WITHHELD_OF.get(category, _WITHHELD)
